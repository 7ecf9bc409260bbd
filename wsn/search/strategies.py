"""Ways to search a space: random, evolution, local, coarse to fine. Each runs until the evaluations are spent."""

from collections.abc import Iterable
from itertools import product
from typing import Any

from wsn.evaluation.pareto import Front
from wsn.search.problem import Problem, Row
from wsn.space import Subnet


class Strategy:
    """Searches a problem: asks it to evaluate subnets until it raises :class:`wsn.search.problem.Spent`."""

    def run(self, problem: Problem) -> None:
        """Search until the evaluations are spent."""
        raise NotImplementedError

    def report(self, problem: Problem) -> dict[str, dict[str, float]]:
        """Return, for each metric that the strategy predicts, how well it does; nothing by default."""
        return {}


class RandomSearch(Strategy):
    """Evaluate random subnets, spread over the cost range.

    Args:
        batch: subnets evaluated together.
    """

    def __init__(self, batch: int = 32):
        self.batch = batch

    def run(self, problem: Problem) -> None:
        while True:
            problem.evaluate([problem.sample() for _ in range(self.batch)])


class Evolution(Strategy):
    """Evolution of one objective (the last) under constraints.

    Each generation, parents have children: a part by mutation of one, the others by crossover of two. Either the best
    become parents (once-for-all's released search), or, with ``aging``, the best of the youngest: old ones die however
    good they are.

    Args:
        population: size.
        parents: share of the population that has children.
        mutation: share of the children that are mutants.
        mutate_prob: probability that a mutant's choice is redrawn.
        aging: whether the oldest die instead of the worst.
        children: of one generation; by default as many as the population.

    Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, §3.4 and its released ``EvolutionFinder``; aging: Real et
    al. 2019, arXiv:1802.01548, §2.2, whose tournaments are truncation here.
    """

    def __init__(
        self,
        population: int = 32,
        parents: float = 0.25,
        mutation: float = 0.5,
        mutate_prob: float = 0.1,
        aging: bool = False,
        children: int | None = None,
    ):
        self.population = population
        self.parents = max(2, round(parents * population))
        self.mutation = mutation
        self.mutate_prob = mutate_prob
        self.aging = aging
        self.children = children or population

    def run(self, problem: Problem) -> None:
        count = self.children
        alive = [problem.sample() for _ in range(self.population)]
        problem.evaluate(alive)
        while True:
            parents = sorted(alive, key=lambda s: problem.points([problem.rows[s]])[0][-1])[: self.parents]
            children = [self._child(problem, parents, i < self.mutation * count) for i in range(count)]
            problem.evaluate(children)
            alive = ([*alive, *children] if self.aging else [*parents, *children])[-self.population :]

    def _child(self, problem: Problem, parents: list[Subnet], mutate: bool) -> Subnet:
        if mutate:
            return problem.mutate(problem.rng.choice(parents), self.mutate_prob)
        return problem.crossover(problem.rng.choice(parents), problem.rng.choice(parents))


class LocalSearch(Strategy):
    """Pareto local search: evaluate the neighbours of the front until none is better, then start elsewhere too.

    Args:
        start: random subnets to begin with.
        batch: neighbours evaluated together.

    Source: Paquete, Chiarandini & Stützle 2004; on architectures, White et al. 2020, arXiv:2005.02960.
    """

    def __init__(self, start: int = 8, batch: int = 16):
        self.start = start
        self.batch = batch

    def run(self, problem: Problem) -> None:
        problem.evaluate([problem.sample() for _ in range(self.start)])
        explored: set[Subnet] = set()
        while True:
            members = [s for s in front_members(problem) if s not in explored]
            if not members:
                problem.evaluate([problem.sample() for _ in range(self.batch)])
                continue
            subnet = problem.rng.choice(members)
            explored.add(subnet)
            new = [s for s in problem.neighbours(subnet) if s not in problem.rows]
            for i in range(0, len(new), self.batch):
                problem.evaluate(new[i : i + self.batch])


class CoarseToFine(Strategy):
    """Evaluate a grid of skeletons, then vary the best ones.

    A skeleton takes the same choice (by its place in the list) at all positions of a dimension, so that there are few:
    resolution × depth × width × kernel. The front's skeletons are then varied, one choice or a few at a time.

    Args:
        coarse: evaluations for the grid; a larger grid is thinned evenly over the first cost.
        mutate_prob: probability that a choice of a skeleton is redrawn.
        batch: variations evaluated together.

    Source: BigNAS, Yu et al. 2020, arXiv:2003.11142, §3.5.
    """

    def __init__(self, coarse: int = 40, mutate_prob: float = 0.1, batch: int = 16):
        self.coarse = coarse
        self.mutate_prob = mutate_prob
        self.batch = batch

    def run(self, problem: Problem) -> None:
        grid = [s for s in skeletons(problem) if problem.feasible(s)] or [problem.sample()]
        count = max(1, self.coarse)
        first = next(iter(problem.objectives))
        if first in problem.costs:
            grid.sort(key=lambda s: problem.cost(s)[first])
        step = max(1.0, len(grid) / count)
        problem.evaluate(list(dict.fromkeys(grid[int(i * step)] for i in range(min(count, len(grid))))))
        while True:
            best = front_members(problem)
            problem.evaluate([problem.mutate(problem.rng.choice(best), self.mutate_prob) for _ in range(self.batch)])


def skeletons(problem: Problem) -> list[Subnet]:
    """Return the subnets that take, for each dimension, the smallest, second ... largest choice at all positions."""
    free = {n: d for n, d in problem.space.dimensions.items() if n not in problem.space.followers and n != "layers"}
    levels = [range(max(len(c) for c in d.choices)) for d in free.values()]
    found = (
        problem.space.subnet(
            **{n: _level(d.choices, i, len(level)) for (n, d), i, level in zip(free.items(), chosen, levels)}
        )
        for chosen in product(*levels)
    )
    return list(dict.fromkeys(found))


def _level(choices: Iterable[tuple], index: int, count: int) -> Any:
    """Return the choice of each position at a level, positions with fewer choices in proportion."""
    values = [c[round(index * (len(c) - 1) / max(count - 1, 1))] for c in choices]
    return values[0] if len(values) == 1 else values


def front_members(problem: Problem) -> list[Subnet]:
    """Return the subnets on the front that a search has come to; of all where none keeps to the constraints."""
    rows: list[Row] = list(problem.rows.values())
    within = [r for r in rows if all(c.holds(r) for c in problem.constraints)] or rows
    members = {id(row) for row in Front(within, problem.objectives)}
    return [s for s, row in problem.rows.items() if id(row) in members]
