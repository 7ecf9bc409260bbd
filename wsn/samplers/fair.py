"""Strict fairness: every choice is trained equally often in each step."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.schedule import Phase
from wsn.space import Choice, SearchSpace

MOST = 12  # subnets of a step


class FairSampler(Sampler):
    """Draw as many subnets as a dimension has choices: at every position each choice occurs equally often in them.

    Positions with one choice are fixed. A block that some of the subnets skip is trained less often, by nature of
    elastic depth; each of its choices is drawn equally often all the same.

    Source: FairNAS, Chu et al. 2021, arXiv:1907.01845, §3.2 (algorithm 1), where every position has m choices and each
    occurs once. Differs: where numbers of choices differ, their least common multiple is the number of subnets; subnets
    per step follow from the space, so ``roles`` may hold one role only.

    Raises:
        WsnError: numbers of choices whose least common multiple is above 12.
    """

    one_role = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.count = fair_count(self.space, self.shared)

    def enter(self, phase: Phase) -> None:
        """Take the phase's choices and role."""
        super().enter(phase)
        self.count = fair_count(self.space, self.shared)

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return one subnet per choice: at every position a permutation of the choices, repeated."""
        space = self.space_of(step)
        rng = self.rng(step, 0)
        orders = {
            n: [self._order(rng, c) for c in d.choices] for n, d in space.dimensions.items() if n not in space.followers
        }
        return [
            Draw(space.subnet(**{n: [order[i] for order in o] for n, o in orders.items()}), self.roles[0])
            for i in range(self.count)
        ]

    def _order(self, rng: Random, choices: Sequence[Choice]) -> list[Choice]:
        if len(choices) == 1:
            return list(choices) * self.count
        repeated = list(choices) * (self.count // len(choices))
        return rng.sample(repeated, len(repeated))


def fair_count(space: SearchSpace, shared: Sequence[str]) -> int:
    """Return the least number of subnets in which every choice can occur equally often."""
    counts = {n: sorted({len(c) for c in d.choices}) for n, d in space.dimensions.items() if n not in shared}
    count = math.lcm(*(number for numbers in counts.values() for number in numbers))
    if count > MOST:
        raise WsnError(
            f"sampler=fair would need {count} subnets in each step, at most {MOST} are allowed: numbers of choices are "
            f"{', '.join(f'{n}: {listed(c)}' for n, c in counts.items())}. Give dimensions numbers of choices that "
            "divide each other (backbone.NAME=[...]), or fix one to one choice per step (sampler.shared=[...])"
        )
    return count
