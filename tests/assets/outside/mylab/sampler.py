"""A sampler that draws two subnets and takes the narrower one."""

from random import Random

from wsn.samplers.base import Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class Narrower(Sampler):
    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        return min((space.sample(rng) for _ in range(2)), key=lambda s: sum(w or 0 for w in s.width))
