"""Uniform sampling: every choice drawn independently."""

from wsn.samplers.base import Draw, Sampler


class UniformSampler(Sampler):
    """Draw every choice of every subnet independently and uniformly (OFA, SPOS).

    >>> from wsn.space import Dimension, SearchSpace
    >>> space = SearchSpace([Dimension("resolution", [24, 32])])
    >>> sampler = UniformSampler(space, num_subnets=2)
    >>> a, b = sampler.sample(step=7)
    >>> a.subnet == b.subnet, a.role  # one resolution per step
    (True, 'random')
    """

    def sample(self, step: int) -> list[Draw]:
        """Return ``num_subnets`` independent draws."""
        space = self.space_of(step)
        return [Draw(space.sample(self.rng(step, slot)), self.role) for slot in range(self.num_subnets)]
