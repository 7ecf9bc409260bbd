"""Compound sampling: one level for each stage moves all of its dimensions together."""

from random import Random
from typing import Any

from wsn.samplers.base import Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class CompoundSampler(Sampler):
    """Draw a level for each stage, from which the choices of its depth and of its blocks follow; others are uniform.

    A position with n choices takes the one whose share of the range is closest to the level's. Depth 2, 3, 4 goes
    with expand ratio 3, 4, 6: CompOFA's heuristic, without restricting the space (for that, see ``method.couple``).

    Args:
        *args: as for :class:`Sampler`.
        free: block and stage dimensions that do not follow but are drawn uniformly.
        **kwargs: as for :class:`Sampler`.

    Source: CompOFA, Sahni et al. 2021, arXiv:2104.12642, §3; EfficientNet's compound scaling, Tan & Le 2019,
    arXiv:1905.11946, §3.3, has one level for the network.
    """

    def __init__(self, *args: Any, free: tuple[str, ...] = ("kernel",), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.free = tuple(free)

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a subnet whose stages each have one level."""
        followers = {n: d for n, d in space.dimensions.items() if d.scope != "network" and n not in self.free}
        levels = max((len(c) for d in followers.values() for c in d.choices), default=1)
        stages = max(1, len(space.stages))
        level = [rng.randrange(levels) / max(levels - 1, 1) for _ in range(stages)]
        stage_of = [stage for stage, blocks in enumerate(space.stages) for _ in range(blocks)]
        values = {
            n: [rng.choice(c) for c in d.choices] for n, d in space.dimensions.items() if n not in space.followers
        }
        for n, d in followers.items():
            if n in space.followers:
                continue
            at = stage_of if d.scope == "block" else [min(max(i - d.offset, 0), stages - 1) for i in range(len(d))]
            values[n] = [c[round(level[stage] * (len(c) - 1))] for stage, c in zip(at, d.choices)]
        return space.subnet(**values)
