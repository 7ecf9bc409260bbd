"""Nested sub-models: one of them at random for each micro-batch."""

import math
from collections.abc import Mapping
from itertools import product
from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.samplers.base import Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class SortedSampler(Sampler):
    """Draw from a fixed set of sorted sub-models: along each dimension a chain in which each contains the one before.

    A chain goes from the smallest to the largest choices; a chain of as many levels as there are choices moves all
    positions at once, a longer one moves them one after another. The sub-models are all combinations of levels.

    Args:
        *args: as for :class:`Sampler`.
        levels: dimension → number of levels; dimensions left out have as many as they have choices.
        **kwargs: as for :class:`Sampler`.

    Source: SortedNet, Valipour et al. 2023, arXiv:2309.00255, §3; its code was not released. Up to 160 sub-models are
    reported: ``levels={depth: 10, expand: 16, kernel: 1}`` makes as many of OFA's space.

    >>> from wsn.space.dimension import Dimension
    >>> depth, expand = Dimension("depth", [2, 3, 4], 2, "stage"), Dimension("expand", [3, 6], 8, "block")
    >>> space = SearchSpace([depth, expand], stages=[4, 4])
    >>> sampler = SortedSampler(space, levels={"depth": 5})
    >>> [list(s.depth) for s in sampler.sub_models() if s.expand[0] == 3]
    [[2, 2], [3, 2], [3, 3], [4, 3], [4, 4]]
    """

    per_micro_batch = True

    def __init__(self, *args: Any, levels: Mapping[str, int] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.levels = dict(levels or {})
        unknown = [n for n in self.levels if n not in self.space.dimensions]
        if unknown:
            known = listed(self.space.dimensions)
            raise WsnError(f"sampler.levels: unknown dimension {listed(unknown)}; allowed: {known}")
        self._chains: dict[tuple, list[dict[str, list]]] = {}
        self.chains(self.space)

    def sub_models(self, space: SearchSpace | None = None) -> list[Subnet]:
        """Return all sub-models, the smallest first."""
        space = space or self.space
        return [space.subnet(**values) for values in self.chains(space)]

    def chains(self, space: SearchSpace) -> list[dict[str, list]]:
        """Return the choices of each sub-model, made once for a space."""
        key = tuple(d.choices for d in space.dimensions.values())
        if key not in self._chains:
            free = [d for n, d in space.dimensions.items() if n not in space.followers]
            per_dimension = [self._chain(d.name, d.choices) for d in free]
            self._chains[key] = [dict(zip((d.name for d in free), values)) for values in product(*per_dimension)]
        return self._chains[key]

    def _chain(self, name: str, choices: tuple) -> list[list]:
        longest = sum(len(c) - 1 for c in choices) + 1
        levels = self.levels.get(name, max(len(c) for c in choices))
        if not 1 <= levels <= longest:
            raise WsnError(f"sampler.levels.{name} must be from 1 (the largest only) to {longest}. Received {levels}")
        if levels == 1:
            return [[c[-1] for c in choices]]
        return [
            [c[_rank(level / (levels - 1), len(c), p, len(choices))] for p, c in enumerate(choices)]
            for level in range(levels)
        ]

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a random sub-model."""
        return space.subnet(**rng.choice(self.chains(space)))


def _rank(share: float, choices: int, position: int, positions: int) -> int:
    """Return the index of a position's choice where a chain has gone this share of its way.

    The first positions move first: position p is ahead of p + 1 by at most one choice.
    """
    moved = share * (choices - 1) * positions
    return max(0, min(choices - 1, math.floor((moved - position - 1) / positions + 1 + 1e-9)))
