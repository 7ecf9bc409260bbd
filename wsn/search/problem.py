"""Search problems: a space with costs and constraints, and evaluations that are counted and kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.evaluation.pareto import Front
from wsn.search.constraint import Constraint, check_keys
from wsn.search.moves import crossover, mutate, neighbours
from wsn.space import SearchSpace, Subnet

Row = dict[str, Any]
Evaluate = Callable[[Sequence[Subnet]], Iterable[tuple[Subnet, Row]]]


class Spent(Exception):  # noqa: N818  (not an error)
    """The evaluations are used up, or nothing new is found."""


class Problem:
    """A space to search, within a number of evaluations.

    Strategies draw feasible subnets here (:meth:`sample`, :meth:`mutate`, :meth:`crossover`, :meth:`neighbours`) and
    have them evaluated; each subnet is evaluated once. With the same seed and the same results a search takes the same
    way, so an interrupted one is run again on the rows that are known.

    Args:
        space: the search space.
        evaluate: subnets → (subnet, row with its metrics), each as soon as it is ready.
        costs: name → cost of a subnet, known without evaluating it.
        objectives: key → ``min`` or ``max``; costs or metrics, the last one a metric.
        constraints: on costs, kept by every evaluated subnet; on metrics, kept by the front.
        evaluations: how many.
        seed: of everything that is random.
        known: rows of earlier evaluations.
        on_row: called with each new row.

    Raises:
        WsnError: an unknown objective or constraint, or no subnet within the constraints.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluate: Evaluate,
        costs: Mapping[str, Callable[[Subnet], float]],
        objectives: Mapping[str, str],
        constraints: Sequence[Constraint] = (),
        evaluations: int = 100,
        seed: int = 0,
        known: Iterable[tuple[Subnet, Row]] = (),
        on_row: Callable[[Row], None] | None = None,
    ):
        self.space = space
        self.costs = dict(costs)
        self.objectives = dict(objectives)
        self.constraints = list(constraints)
        self.evaluations = evaluations
        self.seed = seed
        self.rng = Random(seed)
        self.rows: dict[Subnet, Row] = {}
        """Evaluated subnets, in the order in which the strategy asked for them."""
        self._known = dict(known)  # everything that was evaluated, in an earlier run of this search too
        self._evaluate = evaluate
        self.on_row = on_row
        self._on_costs = [c for c in self.constraints if c.key in self.costs]
        self._costs_of: dict[Subnet, dict[str, float]] = {}
        self._idle = 0
        self._check_feasible()

    # -- evaluating ------------------------------------------------------------------------------------

    def evaluate(self, subnets: Sequence[Subnet]) -> list[Row]:
        """Evaluate subnets, those known already excepted, and return their rows.

        Raises:
            Spent: the evaluations are used up, or nothing new came for many calls.
        """
        new = [s for s in dict.fromkeys(subnets) if s not in self.rows]
        fresh = [s for s in new if s not in self._known]
        left = max(self.evaluations - len(self._known), 0)
        if fresh[:left]:
            for subnet, row in self._evaluate(fresh[:left]):
                self._known[subnet] = {**row, **self.cost(subnet)}
                if self.on_row:
                    self.on_row(self._known[subnet])
        self.rows.update((s, self._known[s]) for s in new if s in self._known)
        self._idle = 0 if new else self._idle + 1
        used_up = len(self._known) >= self.evaluations and len(self.rows) == len(self._known)
        if used_up or len(fresh) > left or self._idle > 50:
            raise Spent
        return [self.rows[s] for s in subnets]

    def results(self) -> list[Row]:
        """Return all rows, those of earlier evaluations too."""
        return list(self._known.values())

    def front(self) -> Front:
        """Return the front of all rows within the constraints."""
        return Front([r for r in self.results() if all(c.holds(r) for c in self.constraints)], self.objectives)

    def cost(self, subnet: Subnet) -> dict[str, float]:
        """Return every cost of a subnet."""
        if subnet not in self._costs_of:
            self._costs_of[subnet] = {name: model(subnet) for name, model in self.costs.items()}
        return self._costs_of[subnet]

    def feasible(self, subnet: Subnet) -> bool:
        """Tell whether a subnet keeps to the constraints on costs."""
        return not self._on_costs or all(c.holds(self.cost(subnet)) for c in self._on_costs)

    def points(self, rows: Iterable[Row]) -> list[list[float]]:
        """Return the objectives of rows, all to be minimised."""
        signs = {"min": 1.0, "max": -1.0}
        return [[signs[d] * row[key] for key, d in self.objectives.items()] for row in rows]

    # -- drawing feasible subnets ----------------------------------------------------------------------

    def sample(self) -> Subnet:
        """Draw a random subnet; the cost range is covered evenly, not as uniform choices would."""
        return self._feasible(lambda: self.space.sample(self.rng, self.rng.random()))

    def mutate(self, subnet: Subnet, prob: float = 0.1) -> Subnet:
        """Redraw each choice of a subnet with a probability."""
        return self._feasible(lambda: mutate(self.space, subnet, self.rng, prob))

    def crossover(self, a: Subnet, b: Subnet) -> Subnet:
        """Take each choice from one of two parents."""
        return self._feasible(lambda: crossover(self.space, a, b, self.rng))

    def neighbours(self, subnet: Subnet) -> Iterator[Subnet]:
        """Yield the feasible subnets that differ in one choice by one step, in random order."""
        found = list(neighbours(self.space, subnet))
        self.rng.shuffle(found)
        return (s for s in found if self.feasible(s))

    def _feasible(self, draw: Callable[[], Subnet], tries: int = 20) -> Subnet:
        """Draw until a subnet is feasible; then move the last one towards an end of the space that is."""
        for _ in range(tries):
            subnet = draw()
            if self.feasible(subnet):
                return subnet
        end = next(s for s in (self.space.min(), self.space.max(), self._inside) if self.feasible(s))
        for _ in range(tries):
            subnet = crossover(self.space, subnet, end, self.rng)
            if self.feasible(subnet):
                return subnet
        return end

    def _check_feasible(self) -> None:
        if len(self.objectives) < 2 or any(d not in ("min", "max") for d in self.objectives.values()):
            raise WsnError(
                f"objectives: two or more, each min or max, e.g. objectives={{macs: min, acc: max}}. Received "
                f"{self.objectives}"
            )
        ends = [self.space.min(), self.space.max()]
        for c in self._on_costs:
            best = (min if c.sign == "<=" else max)(ends, key=lambda s: self.cost(s)[c.key])
            if not c.holds(self.cost(best)):
                size = "smallest" if c.sign == "<=" else "largest"
                raise WsnError(
                    f"There is no subnet with {c}: the {size} has {c.key} {self.cost(best)[c.key]:.6g}. Relax the "
                    "constraint, or train a space with smaller choices"
                )
        rng = Random(self.seed)
        drawn = (self.space.sample(rng, rng.random()) for _ in range(2000))
        inside = next((s for s in (*ends, *drawn) if self.feasible(s)), None)
        if inside is None:
            raise WsnError(f"No subnet was found within {listed(self._on_costs)}; relax one of them")
        self._inside = inside


def check_objectives(problem: Problem, metrics: Iterable[str]) -> None:
    """Check that all objectives and constraints are costs or metrics.

    Raises:
        WsnError: an unknown one.
    """
    known = [*problem.costs, *metrics]
    unknown = [key for key in problem.objectives if key not in known]
    if unknown:
        raise WsnError(f"objectives: unknown {unknown[0]!r}. Known are {listed(known)}; add costs with cost=[macs,...]")
    check_keys(problem.constraints, known, "constraints")
