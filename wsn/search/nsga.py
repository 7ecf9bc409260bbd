"""NSGA-II and NSGA-III, by pymoo, on subnets themselves: the space's own sampling, crossover and mutation."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import ElementwiseDuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.sampling import Sampling
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions

from wsn.search.problem import Problem
from wsn.search.strategies import Strategy
from wsn.space import Subnet


class NSGA(Strategy):
    """Non-dominated sorting genetic algorithm.

    Args:
        population: size; the first one is random, so several times fewer than the evaluations.
        offspring: children of a generation; by default as many as the population.
        mutate_prob: probability that a choice of a child is redrawn.
        variant: ``2`` (crowding distance) or ``3`` (reference directions: for three objectives and more).

    Source: Deb et al. 2002 (II), Deb & Jain 2014 (III), as pymoo implements them.
    """

    def __init__(self, population: int = 24, offspring: int | None = None, mutate_prob: float = 0.1, variant: int = 2):
        self.population = population
        self.offspring = offspring
        self.mutate_prob = mutate_prob
        self.variant = variant

    def run(self, problem: Problem) -> None:
        algorithm = self.algorithm(problem, self.population)
        variables = PymooProblem(n_var=1, n_obj=len(problem.objectives))
        algorithm.setup(variables, termination=NoTermination(), seed=problem.seed, verbose=False)
        while True:
            offspring = algorithm.ask()
            rows = problem.evaluate([x[0] for x in offspring.get("X")])
            points = np.array(problem.points(rows))
            Evaluator().eval(StaticProblem(algorithm.problem, F=points), offspring)
            algorithm.tell(infills=offspring)

    def algorithm(self, problem: Problem, size: int, start: list[Subnet] | None = None) -> Any:
        """Return pymoo's algorithm on this problem's subnets, perhaps starting from some of them."""
        options: dict[str, Any] = {
            "sampling": _Sampling(problem, start or []),
            "crossover": _Crossover(problem),
            "mutation": _Mutation(problem, self.mutate_prob),
            "eliminate_duplicates": _SameSubnet(),
        }
        if self.variant == 3:
            directions = _directions(len(problem.objectives), size)
            return NSGA3(directions, pop_size=size, n_offsprings=self.offspring, **options)
        return NSGA2(pop_size=size, n_offsprings=self.offspring, **options)

    def best_predicted(
        self, problem: Problem, points: Callable[[list[Subnet]], np.ndarray], generations: int, start: list[Subnet]
    ) -> list[Subnet]:
        """Evolve subnets on predicted objectives and return the last population, the best first.

        Args:
            problem: whose feasible subnets are drawn.
            points: subnets → predicted objectives (n, k), to be minimised.
            generations: how many.
            start: subnets to begin with.
        """
        algorithm = self.algorithm(problem, self.population, start)
        inner = PymooProblem(n_var=1, n_obj=len(problem.objectives))
        algorithm.setup(inner, termination=NoTermination(), seed=problem.rng.randrange(2**31), verbose=False)
        for _ in range(generations):
            offspring = algorithm.ask()
            if offspring is None or not len(offspring):
                break
            found = points([x[0] for x in offspring.get("X")])
            Evaluator().eval(StaticProblem(inner, F=found), offspring)
            algorithm.tell(infills=offspring)
        population = algorithm.pop
        order = np.lexsort((-population.get("crowding").astype(float), population.get("rank").astype(int)))
        return [population[i].X[0] for i in order]


def _directions(objectives: int, count: int) -> np.ndarray:
    """Return Das and Dennis's evenly spread directions, at most ``count`` of them."""
    partitions = 1
    while comb(partitions + objectives, objectives - 1) <= count:
        partitions += 1
    return get_reference_directions("das-dennis", objectives, n_partitions=partitions)


class _Sampling(Sampling):
    def __init__(self, problem: Problem, start: list[Subnet]):
        super().__init__()
        self.subnets = problem
        self.start = start

    def _do(self, problem: Any, n_samples: int, **kwargs: Any) -> np.ndarray:
        drawn = [*self.start[:n_samples], *(self.subnets.sample() for _ in range(n_samples - len(self.start)))]
        return _column(drawn)


class _Crossover(Crossover):
    def __init__(self, problem: Problem):
        super().__init__(n_parents=2, n_offsprings=1)
        self.subnets = problem

    def _do(self, problem: Any, X: np.ndarray, **kwargs: Any) -> np.ndarray:  # noqa: N803  (pymoo's name)
        children = [self.subnets.crossover(X[0, i, 0], X[1, i, 0]) for i in range(X.shape[1])]
        return _column(children)[None]


class _Mutation(Mutation):
    def __init__(self, problem: Problem, prob: float):
        super().__init__()
        self.subnets = problem
        self.redraw = prob

    def _do(self, problem: Any, X: np.ndarray, **kwargs: Any) -> np.ndarray:  # noqa: N803  (pymoo's name)
        return _column([self.subnets.mutate(x[0], self.redraw) for x in X])


class _SameSubnet(ElementwiseDuplicateElimination):
    def is_equal(self, a: Any, b: Any) -> bool:
        return a.X[0] == b.X[0]


def _column(subnets: list[Subnet]) -> np.ndarray:
    """Return subnets as pymoo has variables: (n, 1), of objects."""
    column = np.empty((len(subnets), 1), dtype=object)
    column[:, 0] = subnets
    return column
