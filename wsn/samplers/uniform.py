"""Uniform sampling: every choice drawn independently."""

from random import Random

from wsn.samplers.base import Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class UniformSampler(Sampler):
    """Draw every choice independently and uniformly.

    With ``roles=[random]`` this is single-path one-shot sampling (SPOS, Guo et al. 2020, arXiv:1904.00420, §3.1), with
    ``roles=[max, random, random, min]`` the sandwich rule (US-Net, Yu & Huang 2019, arXiv:1903.05134, §3.2).

    >>> from wsn.space.dimension import Dimension
    >>> space = SearchSpace([Dimension("resolution", [24, 32])])
    >>> sampler = UniformSampler(space, roles=["random", "random"])
    >>> a, b = sampler.sample(step=7)
    >>> a.subnet == b.subnet, a.role  # one resolution per step
    (True, 'random')
    """

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a uniform draw."""
        return space.sample(rng)
