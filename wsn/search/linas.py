"""Predictor-assisted search: a genetic algorithm on predictions, real evaluations of its picks, repeated."""

from collections.abc import Sequence

import numpy as np

from wsn.search.nsga import NSGA
from wsn.search.predictors import Predictor, k_fold_report
from wsn.search.problem import Problem
from wsn.search.strategies import Strategy, front_members
from wsn.space import Subnet


class PredictorAssisted(Strategy):
    """Evaluate a few random subnets; then again and again learn from all, search the predictions, evaluate the picks.

    Costs are exact in the inner search, only metrics are predicted.

    Args:
        start: random subnets to begin with.
        picks: evaluated in each round.
        model: of the predictor, see :class:`wsn.search.predictors.Predictor`.
        optimism: deviations by which a prediction is taken to be better than its mean.
        population: of the inner NSGA-II.
        generations: of the inner NSGA-II.

    Source: LINAS, Cummings et al. 2022, arXiv:2205.10358, §3. Differs from the paper: by default a Gaussian process on
    choices and costs; picks are spread by crowding distance, over subnets that are not evaluated yet.
    """

    def __init__(
        self,
        start: int = 24,
        picks: int = 8,
        model: str = "gaussian_process",
        optimism: float = 0.5,
        population: int = 60,
        generations: int = 20,
    ):
        self.start = start
        self.picks = picks
        self.model = model
        self.optimism = optimism
        self.inner = NSGA(population)
        self.generations = generations

    def run(self, problem: Problem) -> None:
        problem.evaluate([problem.sample() for _ in range(self.start)])
        while True:
            picks = self._picks(problem)
            problem.evaluate(picks or [problem.sample() for _ in range(self.picks)])

    def _picks(self, problem: Problem) -> list[Subnet]:
        """Return subnets whose predictions are best, not evaluated yet."""
        predictors = self._learn(problem)

        def points(subnets: Sequence[Subnet]) -> np.ndarray:
            columns = []
            for key, direction in problem.objectives.items():
                if key in problem.costs:
                    column = np.array([problem.cost(s)[key] for s in subnets])
                    columns.append(column if direction == "min" else -column)
                else:
                    mean, deviation = predictors[key].predict(subnets)
                    columns.append((mean if direction == "min" else -mean) - self.optimism * deviation)
            return np.stack(columns, axis=1)

        found = self.inner.best_predicted(problem, points, self.generations, front_members(problem))
        return [s for s in dict.fromkeys(found) if s not in problem.rows][: self.picks]

    def _learn(self, problem: Problem) -> dict[str, Predictor]:
        subnets = list(problem.rows)
        return {
            key: self._predictor(problem).fit(subnets, [problem.rows[s][key] for s in subnets])
            for key in self._predicted(problem)
        }

    def report(self, problem: Problem) -> dict[str, dict[str, float]]:
        """Cross-validate the predictor on everything that was evaluated, see :func:`k_fold_report`."""
        subnets = list(problem.rows)
        if len(subnets) < 10:
            return {}
        found = {}
        for key, sign in self._predicted(problem).items():
            values = [sign * problem.rows[s][key] for s in subnets]
            found[key] = k_fold_report(lambda: self._predictor(problem), subnets, values)
        return found

    def _predictor(self, problem: Problem) -> Predictor:
        costs = [lambda s, name=name: problem.cost(s)[name] for name in problem.costs]
        return Predictor(problem.space, self.model, costs, seed=problem.seed)

    def _predicted(self, problem: Problem) -> dict[str, int]:
        """Return the objectives that are metrics, with 1 where much is good and -1 where little is."""
        return {k: 1 if d == "max" else -1 for k, d in problem.objectives.items() if k not in problem.costs}
