"""Searching a list of subnets that were measured before: a benchmark without a GPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wsn.search.moves import crossover, mutate
from wsn.search.problem import Problem, Row
from wsn.space import SearchSpace, Subnet


class TableProblem(Problem):
    """A problem whose subnets are the rows of a table.

    Whatever a strategy draws becomes the most similar row (by the one-hot encoding) that is not evaluated yet.

    Args:
        space: space that the subnets are members of.
        table: subnet → row, with the metrics.
        costs: name → cost of a subnet.
        objectives: as for :class:`Problem`.
        **kwargs: as for :class:`Problem`.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: Mapping[Subnet, Row],
        costs: Mapping[str, Callable[[Subnet], float]],
        objectives: Mapping[str, str],
        **kwargs: Any,
    ):
        self.members = list(table)
        self._codes = np.array([space.encode(s) for s in self.members], dtype=np.int8)
        super().__init__(space, lambda subnets: [(s, table[s]) for s in subnets], costs, objectives, **kwargs)
        self._free = np.array([self.feasible(s) for s in self.members])
        self._index = {s: i for i, s in enumerate(self.members)}

    def evaluate(self, subnets: Sequence[Subnet]) -> list[Row]:
        """Evaluate rows of the table; in the place of a subnet that is not in it, the most similar row."""
        rows = []
        for subnet in subnets:
            rows.append(subnet if subnet in self._index else self.nearest(subnet)[0])
            self._free[self._index[rows[-1]]] = False
        return super().evaluate(rows)

    def sample(self) -> Subnet:
        """Draw a random row."""
        free = np.flatnonzero(self._free)
        return self.members[int(self.rng.choice(free if len(free) else range(len(self.members))))]

    def mutate(self, subnet: Subnet, prob: float = 0.1) -> Subnet:
        """Return the row most similar to a mutant."""
        return self.nearest(mutate(self.space, subnet, self.rng, prob))[0]

    def crossover(self, a: Subnet, b: Subnet) -> Subnet:
        """Return the row most similar to a child."""
        return self.nearest(crossover(self.space, a, b, self.rng))[0]

    def neighbours(self, subnet: Subnet) -> Iterator[Subnet]:
        """Yield the ten most similar rows."""
        return iter(self.nearest(subnet, 10))

    def nearest(self, subnet: Subnet, count: int = 1) -> list[Subnet]:
        """Return the most similar rows that are not evaluated yet."""
        distance = (self._codes != np.array(self.space.encode(subnet), dtype=np.int8)).sum(1)
        order = np.argsort(np.where(self._free, distance, distance + 10_000), kind="stable")
        return [self.members[i] for i in order[:count]]
