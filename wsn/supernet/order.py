"""Ordering channels by importance: what a score is, the score of weights alone, and sorting within bands."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsn.supernet.precision import full_precision


@dataclass(frozen=True)
class ChannelScore:
    """The importance of the input channels of layers.

    Args:
        of: path of a layer → importance of each input channel (C,), not negative.
        norm: how the channels of a unit (an attention head, or a group of heads) add up: 1 sums them, 2 takes the
            square root of the sum of their squares.
    """

    of: Callable[[str], Tensor]
    norm: int = 1

    def __call__(self, path: str) -> Tensor:
        """Return the importance of the input channels (C,) of the layer at ``path``."""
        return self.of(path)

    def units(self, path: str, chunks: int, count: int, unit: int) -> Tensor:
        """Return the importance of units (count,) of ``unit`` channels each, in each of ``chunks`` fused parts."""
        channels = self.of(path).unflatten(0, (chunks, count, unit))
        return channels.sum((0, 2)) if self.norm == 1 else channels.square().sum((0, 2)).sqrt()


def magnitude(model: nn.Module, p: int = 1) -> ChannelScore:
    """Score a channel by the L1 norm of the weights that read it (OFA's order), or the L2 norm.

    Args:
        model: the largest network.
        p: 1 or 2.

    Source: Once-for-All, Cai et al. 2020, §3.3 (elastic width); Li et al. 2017, arXiv:1608.08710, §3.1.
    """

    def score(path: str) -> Tensor:
        weight = weight_of(model.get_submodule(path))
        return weight.abs().sum(0) if p == 1 else weight.square().sum(0).sqrt()

    return ChannelScore(score)


def reads_channels(leaf: nn.Module) -> bool:
    """Tell whether a layer mixes its input channels: linear, or a convolution that is not grouped."""
    return isinstance(leaf, nn.Linear) or (isinstance(leaf, nn.Conv2d) and leaf.groups == 1) or _transposed(leaf)


def readers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that mix channels by their path."""
    return {path: leaf for path, leaf in model.named_modules() if reads_channels(leaf)}


def weight_of(leaf: nn.Module) -> Tensor:
    """Return a layer's weight in full precision as (everything else, input channels), without its gradient."""
    return full_precision(as_weight(leaf, leaf.weight.detach()))  # type: ignore[operator]


def as_weight(leaf: nn.Module, weight: Tensor) -> Tensor:
    """Return a tensor of the shape of a layer's weight as (everything else, input channels)."""
    return weight.T if _transposed(leaf) else weight.movedim(1, -1).flatten(0, -2)


def _transposed(leaf: nn.Module) -> bool:
    return type(leaf).__name__ == "Conv1D"  # GPT-2's linear layer, whose weight is (in, out)


def sort_channels(scores: Tensor, bands: list[int] | None = None) -> Tensor:
    """Return the permutation that sorts channels by descending score, within bands where given.

    Args:
        scores: (C,) importance of each channel.
        bands: ascending boundaries inside (0, C); channels do not leave their band.

    >>> sort_channels(torch.tensor([1.0, 3.0, 2.0, 4.0])).tolist()
    [3, 1, 2, 0]
    >>> sort_channels(torch.tensor([1.0, 3.0, 2.0, 4.0]), bands=[2]).tolist()
    [1, 0, 3, 2]
    """
    edges = [0, *(bands or []), len(scores)]
    parts = [
        torch.argsort(scores[left:right], descending=True, stable=True) + left for left, right in zip(edges, edges[1:])
    ]
    return torch.cat(parts)
