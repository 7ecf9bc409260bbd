"""Relaxed choices: a share for each choice of a language model's space, in place of one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wsn.space import SearchSpace, Subnet

Key = tuple[str, int]
"""An independent choice: dimension and position."""
Weights = dict[Key, Tensor]
"""Key → shares of its K choices, which sum to 1: (K,), (B, 1, K) for each sequence, or (B, T, K) for each token."""


class Choices:
    """The independent choices of a transformer's space, and what all others are by them.

    A dimension that follows another (heads a width, layers a depth) has no choice of its own: what it is, is a table
    over its leader's choices.

    Args:
        space: of a transformer of equal layers, see :func:`wsn.backbones.transformer.transformer_space`.

    >>> from wsn.backbones.transformer import transformer_space
    >>> from wsn.space.dimension import Dimension
    >>> choices = Choices(transformer_space([Dimension("ffn", [8, 16], 3, "block")], count=3, depth=[2, 3]))
    >>> list(choices.routed)
    [('depth', 0), ('ffn', 0), ('ffn', 1), ('ffn', 2)]
    >>> choices.kept(2)  # the third layer, by the choices of depth
    (('depth', 0), (0, 1))
    """

    def __init__(self, space: SearchSpace):
        self.space = space
        leaders = [d for name, d in space.dimensions.items() if name not in space.followers]
        self.all: dict[Key, tuple[Any, ...]] = {(d.name, p): c for d in leaders for p, c in enumerate(d.choices)}
        self.routed = {key: values for key, values in self.all.items() if len(values) > 1}
        """Those with more than one choice."""

    def values(self, name: str, position: int) -> tuple[Key, tuple[Any, ...]]:
        """Return which choice decides a dimension at a position, and its value by each."""
        follow = self.space.followers.get(name)
        if follow is None:
            return (name, position), self.all[name, position]
        key = (follow.leader, follow.at[position])
        return key, tuple(follow.maps[position][c] for c in self.all[key])

    def kept(self, layer: int) -> tuple[Key, tuple[int, ...]]:
        """Return which choice decides whether a layer is kept, and 1 (kept) or 0 by each."""
        if "layers" in self.space.dimensions:
            return self.values("layers", layer)
        key, depths = self.values("depth", 0)
        return key, tuple(int(layer < depth) for depth in depths)

    def subnet(self, index: Mapping[Key, int]) -> Subnet:
        """Return the subnet of these choices, by their index; the largest where there is none."""
        full: dict[str, list[Any]] = {}
        for key, values in self.all.items():
            full.setdefault(key[0], []).append(values[index.get(key, -1)])
        return self.space.subnet(**full)

    def index(self, subnet: Subnet) -> dict[Key, int]:
        """Return the index of each routed choice in a subnet; the largest where the layer is skipped."""
        found = {}
        for (name, position), values in self.routed.items():
            value = subnet[name][position] if isinstance(subnet[name], tuple) else subnet[name]
            found[name, position] = len(values) - 1 if value is None else values.index(value)
        return found

    def one_hot(self, subnet: Subnet) -> Weights:
        """Return the shares of a subnet: all on its choices, (K,) each."""
        return {key: _one_hot(i, len(self.routed[key])) for key, i in self.index(subnet).items()}

    def subnets(self, weights: Weights) -> list[Subnet]:
        """Return the subnet of the largest shares: one, or one for each sequence where shares are (B, 1, K)."""
        largest = {key: w.argmax(-1).flatten().tolist() for key, w in weights.items()}
        count = max(map(len, largest.values()))
        return [self.subnet({key: at[row % len(at)] for key, at in largest.items()}) for row in range(count)]

    def harden(self, weights: Weights) -> Weights:
        """Return the one-hot shares of :meth:`subnets`, whose gradient is that of ``weights`` (straight-through)."""
        index = [self.index(subnet) for subnet in self.subnets(weights)]
        return {key: straight_through(w, _rows(index, key, w)) for key, w in weights.items()}


def straight_through(weights: Tensor, hard: Tensor) -> Tensor:
    """Return ``hard``, with the gradient of ``weights``."""
    return hard + weights - weights.detach()


def _one_hot(index: int, count: int) -> Tensor:
    return torch.zeros(count).index_fill(0, torch.tensor([index]), 1.0)


def _rows(index: Sequence[Mapping[Key, int]], key: Key, like: Tensor) -> Tensor:
    """Return the one-hot choices of one key in the shape of its shares."""
    rows = like.numel() // like.shape[-1]
    at = torch.tensor([found[key] for found in index[:rows]], device=like.device)
    return torch.nn.functional.one_hot(at, like.shape[-1]).to(like.dtype).view(like.shape)
