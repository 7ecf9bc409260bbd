"""Sorted LLaMA's sub-models: the first layers of one network, at several depths, in each step."""

from collections.abc import Sequence
from typing import Any

from wsn.errors import WsnError, listed
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class ExitSampler(Sampler):
    """Train the first n layers for each listed n in every step, the deepest first; widths are the largest.

    Args:
        *args: as for :class:`Sampler`; the one role is given to all.
        exits: numbers of layers; None: every depth of the space, or where layers are free every number of them.
        **kwargs: as for :class:`Sampler`.

    Source: Sorted LLaMA, Kavehzadeh et al. 2023, arXiv:2309.08968, §3 (8 depths: 12, 16, ... 40 of 40 layers).
    """

    one_role = True

    def __init__(self, *args: Any, exits: Sequence[int] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if len(self.full_space.stages) != 1:
            raise WsnError(
                "sampler=exits needs a network of equal layers: a transformer. Take another sampler or backbone"
            )
        self.exits = sorted(set(exits or depths_of(self.full_space)), reverse=True)
        allowed = depths_of(self.full_space)
        bad = [n for n in self.exits if n not in allowed]
        if bad:
            raise WsnError(f"sampler.exits: this space has the depths {listed(allowed)}. Received {bad[0]}")

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the subnet of each exit."""
        return [Draw(first_layers(self.space, n), self.roles[0]) for n in self.exits]


def depths_of(space: SearchSpace) -> list[int]:
    """Return the numbers of first layers that a space of equal layers allows."""
    if "layers" not in space.followers and "layers" in space.dimensions:
        flags = space.dimensions["layers"].choices
        return [n for n in range(1, len(flags) + 1) if all((i < n) in c for i, c in enumerate(flags))]
    if "depth" not in space.dimensions:
        return [space.stages[0]]
    return [int(n) for n in space.dimensions["depth"].choices[0]]


def first_layers(space: SearchSpace, count: int) -> Subnet:
    """Return the largest subnet of a space with this depth."""
    if "depth" in space.dimensions:
        return space.subnet(depth=count)
    if "layers" in space.dimensions:
        return space.subnet(layers=[int(i < count) for i in range(len(space.dimensions["layers"]))])
    return space.max()
