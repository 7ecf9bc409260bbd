"""Budgets: steps whose subnet a router chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

from wsn.errors import WsnError, listed
from wsn.samplers.base import Draw, SubnetScore
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase

BUDGET, ROUTER = "budget", "router"
"""Roles that a budget is drawn for: network and router learn, or the router alone."""


class BudgetSampler(UniformSampler):
    """Draw a budget, a share of the largest subnet's cost, for the roles ``budget`` and ``router``; else uniformly.

    The role that is handed on says which: ``budget_0.5``. Its loss is logged under that name. Each micro-batch has
    draws of its own, the same on all processes.

    Args:
        *args: as for :class:`wsn.samplers.base.Sampler`.
        budgets: what is drawn.
        probabilities: name of a phase → probability of each budget; uniform in the phases that are not named.
        full: probability of the largest subnet, role ``max``, in place of a budget.
        **kwargs: as for :class:`wsn.samplers.base.Sampler`.

    Raises:
        WsnError: no budget, or probabilities that are not one for each.

    Source: Nemotron-Elastic, Taghibakhshi et al. 2025, arXiv:2511.16664 (probabilities by phase); ``full``, the
    released code of Megatron-LM (``original_model_sample_prob``).

    >>> from wsn.space.dimension import Dimension
    >>> from wsn.space.search_space import SearchSpace
    >>> space = SearchSpace([Dimension("ffn", [8, 16])])
    >>> BudgetSampler(space, roles=["budget"], budgets=[0.5]).sample(0)
    [Draw(subnet=Subnet(ffn=16), role='budget_0.5')]
    """

    per_micro_batch = True

    def __init__(
        self,
        *args: Any,
        budgets: Sequence[float] = (0.5, 0.75, 1.0),
        probabilities: Mapping[str, Sequence[float]] | None = None,
        full: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if not budgets:
            raise WsnError("sampler.budgets needs at least one budget, e.g. [0.5,0.75,1.0]")
        self.budgets = list(budgets)
        self.probabilities = dict(probabilities or {})
        wrong = [name for name, p in self.probabilities.items() if len(p) != len(budgets) or min(p) < 0 or not sum(p)]
        if wrong:
            raise WsnError(
                f"sampler.probabilities.{wrong[0]} must have one number for each of the budgets {listed(budgets)}. "
                f"Received {list(self.probabilities[wrong[0]])}"
            )
        self.full = full
        self.now: Sequence[float] | None = None

    def enter(self, phase: Phase) -> None:
        """Draw budgets with the phase's probabilities."""
        super().enter(phase)
        self.now = self.probabilities.get(phase.name)

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the draws of one micro-batch; a budget's subnet is the largest, whose choices the router weights."""
        first = micro_batch * len(self.roles)
        draws = super().sample(step, micro_batch, score)
        return [self._budget(draw, step, slot) for slot, draw in enumerate(draws, start=first)]

    def _budget(self, draw: Draw, step: int, slot: int) -> Draw:
        if draw.role not in (BUDGET, ROUTER):
            return draw
        rng, largest = self.rng(step, slot), self.space.max()
        if rng.random() < self.full:
            return Draw(largest, "max")
        (budget,) = rng.choices(self.budgets, self.now)
        return Draw(largest, f"{draw.role}_{budget:g}")


def split_role(role: str) -> tuple[str, float | None]:
    """Return what a role is and its budget.

    >>> split_role("budget_0.5"), split_role("max")
    (('budget', 0.5), ('max', None))
    """
    name, _, budget = role.partition("_")
    return (name, float(budget)) if name in (BUDGET, ROUTER) and budget else (role, None)
