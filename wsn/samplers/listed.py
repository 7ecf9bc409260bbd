"""Slimmable sampling: a fixed list of subnets, all of them in each step."""

from collections.abc import Sequence
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class ListedSampler(Sampler):
    """Train every listed subnet in every step, the largest first.

    Args:
        *args: as for :class:`Sampler`; the one role is given to all.
        subnets: what to train, see :func:`listed_subnets`.
        **kwargs: as for :class:`Sampler`.

    Source: Slimmable Neural Networks, Yu et al. 2019, arXiv:1812.08928, algorithm 1.
    """

    one_role = True

    def __init__(self, *args: Any, subnets: Sequence[Any] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.subnets = listed_subnets(self.full_space, subnets)

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return all listed subnets."""
        return [Draw(s, self.roles[0]) for s in self.subnets]


def listed_subnets(space: SearchSpace, subnets: Sequence[Any] | None) -> list[Subnet]:
    """Return listed subnets, the largest first.

    Args:
        space: space that the subnets are members of.
        subnets: anything that :meth:`SearchSpace.find` takes, the largest first; None: one subnet for each level of
            choices, which takes the choices of that level at every position (``width`` [.25, .5, .75, 1]: four).
    """
    if subnets is not None:
        found = [space.find(s) for s in subnets]
        if not found or len(set(found)) != len(found):
            raise WsnError(f"A list of subnets needs at least one, and each once. Received {list(subnets)}")
        return found
    levels = max(len(c) for d in space.dimensions.values() for c in d.choices)
    named = [
        {n: [c[round(level * (len(c) - 1) / max(levels - 1, 1))] for c in d.choices] for n, d in free}
        for free in [[(n, d) for n, d in space.dimensions.items() if n not in space.followers]]
        for level in reversed(range(levels))
    ]
    return list(dict.fromkeys(space.subnet(**values) for values in named))
