"""Elastic training with a router: a budget → the choices of a subnet, learned with the network or after it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.cost_models.base import CostModel
from wsn.cost_models.counted import Params
from wsn.data.base import DataModule
from wsn.errors import WsnError, listed
from wsn.methods.base import Batch, Method
from wsn.routers.choices import Choices, Key, Weights
from wsn.routers.expected import ExpectedCost
from wsn.routers.gumbel import Gumbel
from wsn.routers.masks import masked
from wsn.routers.static import StaticRouter
from wsn.samplers.base import Draw
from wsn.samplers.budgets import BUDGET, ROUTER, split_role
from wsn.schedule import RoleLoss
from wsn.space import Subnet
from wsn.supernet import Supernet
from wsn.supernet.leaves import set_dropout


class Routed(Method):
    """Train a router, ``supernet.router``, with a loss of its subnet's quality and one of its cost.

    In the roles ``budget`` and ``router`` (see :class:`wsn.samplers.budgets.BudgetSampler`) the router's relaxed
    choices mask the largest network. The cost loss is |cost / (budget · cost of the largest) - 1|, zero within the
    tolerance; at the budget 1 ten times the squared error of the choices from the largest's is added, as the released
    code does.

    Args:
        *args: as for :class:`Method`.
        budgets: shares of the largest subnet's cost, the same as the sampler's.
        router: makes the router from (choices, budgets); by default :class:`wsn.routers.static.StaticRouter`.
        cost: makes the cost model, of those that are sums over parts: parameters, multiply-adds, a latency table.
        gumbel: how logits become shares.
        alpha: weight of the cost loss.
        tolerance: relative error of the cost that is not punished.
        router_lr: the router's learning rate, as a multiple of the network's; it has a parameter group of its own.
        teacher_at_start: take the network as it is before training (a pretrained one) for the teacher, not as it is
            after the first phase.
        **kwargs: as for :class:`Method`; a loss for ``budget_0.5``, ``budget`` or ``default`` serves that budget.

    Raises:
        WsnError: a backbone that is not a language model, or budgets that no subnet is small enough for.

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3; Nemotron-Elastic, Taghibakhshi et al. 2025,
    arXiv:2511.16664; cost loss, the released code of Megatron-LM (``flextron_utils.py``). Differs: each step has the
    cost losses of all budgets, by shares without noise, which end one-hot: so the loss is zero where the subnets that
    will be deployed keep to their budgets, and no budget's steps spoil another's.
    """

    def __init__(
        self,
        *args: Any,
        budgets: Sequence[float],
        router: Callable[[Choices, Sequence[float]], StaticRouter] = StaticRouter,
        cost: Callable[[], CostModel] = Params,
        gumbel: Gumbel | None = None,
        alpha: float = 1.0,
        tolerance: float = 0.05,
        router_lr: float = 100.0,
        teacher_at_start: bool = False,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.budgets = list(budgets)
        self.router = router
        self.cost = cost
        self.gumbel = gumbel or Gumbel()
        self.alpha = alpha
        self.tolerance = tolerance
        self.lr_scales = {"router": router_lr}
        self.teacher_at_start = teacher_at_start
        self._expected: ExpectedCost | None = None

    def wrap(self, net: Supernet) -> Supernet:
        """Return the supernet with a router."""
        net = super().wrap(net)
        if not isinstance(net, CausalLMSupernet):
            raise WsnError(f"method={self.name} routes language models. Set backbone=llama or gpt2, data=shakespeare")
        net.router = self.router(Choices(net.space), self.budgets)
        return net

    def begin(self, net: Supernet, data: DataModule) -> None:
        """Check the budgets, and take the teacher where it is the network as it is now.

        Raises:
            WsnError: no subnet keeps to a budget.
        """
        least = self.cost_of(net).share(net.space.min())
        small = [budget for budget in self.budgets if budget < least * (1 - self.tolerance)]
        if small:
            raise WsnError(
                f"sampler.budgets: no subnet keeps to {listed(small)} of the largest's cost; the smallest has "
                f"{least:.3f}. Give larger budgets, or smaller choices (backbone.embed_dim, heads, ffn, layers)"
            )
        if self.teacher_at_start and self.wants_teacher:
            self.freeze_teacher(net)

    def at(self, epoch: float) -> dict[str, float]:
        """Anneal the router: from 0 to 1 over the phases that train it."""
        first = self.routed_phases().index(True)
        start, length = (sum(phase.length for phase in part) for part in (self.phases[:first], self.phases[first:]))
        self.gumbel.progress = min(max((epoch - start) / length, 0.0), 1.0)
        return {"router_temperature": self.gumbel.now_temperature}

    def freeze_teacher(self, net: Supernet) -> None:
        """Take the teacher once; later phases keep it."""
        if self.teacher is None:
            super().freeze_teacher(net)

    def role_loss(self, role: str) -> RoleLoss:
        """Return the loss of a role: of this budget, of its kind, or the default."""
        return super().role_loss(role if role in self.losses else split_role(role)[0])

    def forward(self, net: Supernet, inputs: Tensor, draw: Draw) -> tuple[Tensor, Tensor | float]:
        """Run a subnet, or the largest network masked by the router's choices."""
        kind, budget = split_role(draw.role)
        if budget is None:
            return super().forward(net, inputs, draw)
        assert isinstance(net, CausalLMSupernet)
        view, weights = self.relaxed(net, inputs, budget, frozen=kind == ROUTER)
        if not self.role_loss(draw.role).dropout:
            set_dropout(view, on=False)
        logits = net.predict(view, inputs, draw.subnet)
        return logits, self.alpha * self.cost_losses(net, inputs, weights, budget)

    def relaxed(self, net: Any, inputs: Tensor, budget: float, frozen: bool) -> tuple[nn.Module, Weights]:
        """Return the largest network, masked by drawn shares of the choices, and these."""
        weights = self.gumbel.weights(net.router.choices, net.router(budget))
        return masked(net, weights, frozen), weights

    def cost_losses(self, net: Any, inputs: Tensor, weights: Weights, budget: float) -> Tensor:
        """Return the sum of the cost losses of all budgets, each by its shares without noise."""
        return self.expected_losses(net, net.router)

    def expected_losses(self, net: Any, logits: Callable[[float], dict[Key, Tensor]]) -> Tensor:
        """Return the sum of the cost losses of all budgets, of their logits."""
        return torch.stack([self.cost_loss(net, self.gumbel.expected(logits(b)), b) for b in self.budgets]).sum()

    def cost_loss(self, net: CausalLMSupernet, weights: Weights, budget: float) -> Tensor:
        """Return how far the expected cost is from the budget, relative, zero within the tolerance."""
        error = (self.cost_of(net)(weights) / budget - 1).abs()
        loss = error * (error > self.tolerance)
        if budget == 1.0:
            loss = loss + 10 * sum(_error_of_largest(w) for w in weights.values())
        return loss

    def cost_of(self, net: Supernet) -> ExpectedCost:
        """Return the expected cost as a function of shares."""
        if self._expected is None:
            self._expected = ExpectedCost(net, self.cost().part)
        return self._expected

    def measure(self, net: Any, budget: float, batches: Iterable[Batch]) -> dict[str, float]:
        """Return what the router does with a budget: the cost of its subnet, as a share of the largest's."""
        return {"cost": self.cost_of(net).share(net.router.route(budget))}

    def chosen(self, net: Any) -> dict[str, Subnet]:
        """Return the router's subnet for each budget, as ``budget_0.5``."""
        return {f"{BUDGET}_{budget:g}": net.router.route(budget) for budget in self.budgets}

    def routed_phases(self) -> list[bool]:
        """Return, for each phase, whether a router is trained in it."""
        return [bool({BUDGET, ROUTER} & set(phase.roles)) for phase in self.phases]


def _error_of_largest(weights: Tensor) -> Tensor:
    """Return the mean squared error of shares (..., K) from those of the last choice, the largest."""
    largest = torch.zeros_like(weights)
    largest[..., -1] = 1.0
    return F.mse_loss(weights, largest)
