"""Strict fairness: every choice is trained equally often in each step."""

from collections.abc import Sequence
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, Score
from wsn.space import SearchSpace


class FairSampler(Sampler):
    """Draw as many subnets as a dimension has choices: at every position each choice occurs in exactly one of them.

    Positions with one choice are fixed; the others need equally many. A block that some of the subnets skip is
    trained less often, by nature of elastic depth; each of its choices is drawn once all the same.

    Source: FairNAS, Chu et al. 2021, arXiv:1907.01845, §3.2 (algorithm 1). Differs: subnets per step follow from the
    space, so ``roles`` may hold one role only.

    Raises:
        WsnError: positions with different numbers of choices, of which only "expectation fairness" could be had.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if len(set(self.roles)) != 1:
            raise WsnError(f"sampler=fair draws subnets of one role. Received roles={list(self.roles)}")
        self.count = choices_per_position(self.space, self.shared)

    def enter(self, phase) -> None:
        """Take the phase's choices and role."""
        super().enter(phase)
        self.count = choices_per_position(self.space, self.shared)

    def sample(self, step: int, micro_batch: int = 0, score: Score | None = None) -> list[Draw]:
        """Return one subnet per choice: at every position a permutation of the choices."""
        space = self.space_of(step)
        rng = self.rng(step, 0)
        orders = {
            n: [rng.sample(c, len(c)) if len(c) > 1 else list(c) * self.count for c in d.choices]
            for n, d in space.dimensions.items()
            if n not in space.coupled
        }
        return [
            Draw(space.subnet(**{n: [order[i] for order in o] for n, o in orders.items()}), self.roles[0])
            for i in range(self.count)
        ]


def choices_per_position(space: SearchSpace, shared: Sequence[str]) -> int:
    """Return the number of choices that every elastic position has."""
    counts = {n: {len(c) for c in d.choices} - {1} for n, d in space.dimensions.items() if n not in shared}
    numbers = set.union(*counts.values()) if counts else set()
    if len(numbers) > 1:
        raise WsnError(
            "sampler=fair needs equally many choices at every position. Received "
            f"{', '.join(f'{n}: {sorted(c)}' for n, c in counts.items() if c)}. Give each dimension as many choices "
            "(backbone.NAME=[...]), or fix it to one per step (sampler.shared=[...])"
        )
    return numbers.pop() if numbers else 1
