"""The static router: a budget → the choices of one subnet."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.routers.choices import Choices, Key
from wsn.space import Subnet


class StaticRouter(nn.Module):
    """One small network per dimension of the space: one-hot budget → linear → LeakyReLU → linear → logits.

    A budget between two trained ones is their one-hots' linear interpolation; outside them it is the nearest.

    Args:
        choices: of the space.
        budgets: shares of the largest subnet's cost that the router is trained for.
        hidden: units between the two linear layers.
        std: of the initial weights; there are no biases.

    Raises:
        WsnError: no budget, or one outside (0, 1].

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3; Nemotron-Elastic, Taghibakhshi et al. 2025,
    arXiv:2511.16664; sizes and initialisation, the released code of Megatron-LM (``hybrid_flex_router.py``).
    """

    def __init__(self, choices: Choices, budgets: Sequence[float], hidden: int = 256, std: float = 0.1):
        super().__init__()
        if not budgets or min(budgets) <= 0 or max(budgets) > 1:
            raise WsnError(f"sampler.budgets must be shares of the largest subnet's cost in (0, 1]. Received {budgets}")
        self.choices = choices
        self.budgets = sorted(set(budgets))
        counts: dict[str, int] = {}
        for (name, _), values in choices.routed.items():
            counts[name] = counts.get(name, 0) + len(values)
        self.gates = nn.ModuleDict(
            {name: gate(len(self.budgets), hidden, count, std) for name, count in self._routed(counts).items()}
        )

    def _routed(self, counts: dict[str, int]) -> dict[str, int]:
        """Return the dimensions that have a gate on the budget."""
        return counts

    def encode(self, budget: float) -> Tensor:
        """Return a budget (budgets,): one-hot, or between two."""
        found = torch.zeros(len(self.budgets), device=next(self.parameters()).device)
        right = sum(b < budget for b in self.budgets)
        if right in (0, len(self.budgets)):
            found[min(right, len(self.budgets) - 1)] = 1.0
            return found
        low, high = self.budgets[right - 1], self.budgets[right]
        found[right - 1], found[right] = (high - budget) / (high - low), (budget - low) / (high - low)
        return found

    def forward(self, budget: float) -> dict[Key, Tensor]:
        """Return the logits of each routed choice, (K,)."""
        encoded = self.encode(budget)
        return self.split({name: gate(encoded) for name, gate in self.gates.items()})

    def split(self, logits: dict[str, Tensor]) -> dict[Key, Tensor]:
        """Return each choice's part of the logits of its dimension."""
        found: dict[Key, Tensor] = {}
        for name, value in logits.items():
            sizes = {key: len(values) for key, values in self.choices.routed.items() if key[0] == name}
            found.update(zip(sizes, value.split(list(sizes.values()), dim=-1)))
        return found

    @torch.no_grad()
    def route(self, budget: float) -> Subnet:
        """Return the subnet of a budget: the most likely choices."""
        return self.choices.subnets(self(budget))[0]


def gate(inputs: int, hidden: int, outputs: int, std: float) -> nn.Sequential:
    """Return the network of a router."""
    made = nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.LeakyReLU(0.1), nn.Linear(hidden, outputs, bias=False)
    )
    for weight in made.parameters():
        nn.init.normal_(weight, std=std)
    return made
