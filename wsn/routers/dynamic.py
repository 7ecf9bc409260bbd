"""Dynamic routers: the input takes part in the choice, of each sequence or of each token and layer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.routers.choices import Choices, Key, Weights
from wsn.routers.static import StaticRouter, gate


class SequenceRouter(StaticRouter):
    """Budget and sequence → the choices of the sequence's subnet.

    Beside the budget each gate reads the mean embedding of the sequence's first tokens: later ones, which the network
    is to predict, do not tell.

    Args:
        choices: of the space.
        budgets: shares of the largest subnet's cost that the router is trained for.
        hidden: units between the two linear layers.
        std: of the initial weights.
        prompt: how many tokens are read.

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3 (input-adaptive routing). Differs: what is read is the
    embedding, so that the hidden size and the first layer can be chosen as well.
    """

    def __init__(
        self, choices: Choices, budgets: Sequence[float], hidden: int = 256, std: float = 0.1, prompt: int = 16
    ):
        super().__init__(choices, budgets, hidden, std)
        self.prompt = prompt
        width = max(choices.values("embed_dim", 0)[1])
        self.read = nn.ModuleDict({n: nn.Linear(width, hidden, bias=False) for n in self.gates})

    def logits(self, budget: float, embedded: Tensor) -> dict[Key, Tensor]:
        """Return the logits of each routed choice, (B, 1, K), of embedded tokens (B, T, D)."""
        mean = embedded[:, : self.prompt].detach().mean(1, keepdim=True)
        mean = nn.functional.layer_norm(mean, mean.shape[-1:]) / mean.shape[-1]  # learns no faster than the budget
        encoded = self.encode(budget)
        found = {}
        for name, (first, act, last) in ((n, list(g)) for n, g in self.gates.items()):  # type: ignore[call-overload]
            found[name] = last(act(first(encoded) + self.read[name](mean)))
        return self.split(found)


class TokenRouter(StaticRouter):
    """Budget → subnet, whose FFNs' widths each token chooses in each layer, by the FFN's input.

    Args:
        choices: of a space whose ``ffn`` follows no other dimension.
        budgets: shares of the largest subnet's cost that the router is trained for.
        hidden: units between the two linear layers.
        std: of the initial weights.

    Raises:
        WsnError: the FFN's width follows another dimension.

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3 (a router in each layer).
    """

    def __init__(self, choices: Choices, budgets: Sequence[float], hidden: int = 64, std: float = 0.1):
        super().__init__(choices, budgets, hidden, std)
        if "ffn" in choices.space.followers:
            raise WsnError(f"TokenRouter: ffn follows {choices.space.followers['ffn'].leader} in this space. Free it")
        self.width = max(choices.values("embed_dim", 0)[1])
        self.layers = nn.ModuleDict(
            {
                str(at): gate(self.width + len(self.budgets), hidden, len(values), std)
                for (name, at), values in choices.routed.items()
                if name == "ffn"
            }
        )

    def _routed(self, counts: dict[str, int]) -> dict[str, int]:
        return {name: count for name, count in counts.items() if name != "ffn"}

    def logits(self, layer: int, budget: float, hidden: Tensor) -> Tensor:
        """Return the logits (B, T, K) of one layer's FFN widths, of its input (B, T, d)."""
        hidden = hidden.detach() / self.width  # learns no faster than the budget
        hidden = nn.functional.pad(hidden, (0, self.width - hidden.shape[-1]))
        encoded = self.encode(budget).expand(*hidden.shape[:-1], -1)
        return self.layers[str(layer)](torch.cat([hidden, encoded], -1))

    def attach(self, net: Any, view: Any, weights: Weights, budget: float, relax: Callable[[Tensor], Tensor]) -> None:
        """Let the FFNs of a masked view put their tokens' shares into ``weights`` as it runs."""
        layers = view._modules[net.kind.base]._modules[net.kind.layers]
        for (_, _, at), layer in zip(net.space.kept(net.space.max()), layers.children()):
            if str(at) in self.layers:

                def choose(mlp: nn.Module, args: Any, at: int = at) -> None:
                    weights["ffn", at] = relax(self.logits(at, budget, args[0]))

                layer._modules["mlp"].register_forward_pre_hook(choose)
