"""Input-adaptive routing: choices of each sequence or token, learned through a surrogate of the loss."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsn.losses import IGNORED
from wsn.methods.base import Batch, Pass
from wsn.methods.routed import Routed
from wsn.routers.choices import Choices, Key, Weights, straight_through
from wsn.routers.dynamic import SequenceRouter, TokenRouter
from wsn.routers.masks import masked
from wsn.routers.surrogate import Surrogate
from wsn.samplers.base import Draw
from wsn.samplers.budgets import ROUTER, split_role
from wsn.space import Subnet
from wsn.supernet import Supernet


class DynamicRouted(Routed):
    """Train a router that reads the input: in the role ``router`` through a surrogate, in ``budget`` with the network.

    A step of the role ``router`` measures the loss of each sequence under drawn choices, without a backward of the
    language model; the surrogate learns to predict it from the choices, and once it is good enough the router follows
    the surrogate's gradient. The cost is the mean over the batch, so hard inputs may take more than easy ones.

    Args:
        *args: as for :class:`Routed`.
        router: makes a :class:`SequenceRouter` or :class:`TokenRouter` from (choices, budgets).
        surrogate: makes the surrogate from the choices.
        surrogate_lr: its learning rate, as a multiple of the network's.
        **kwargs: as for :class:`Routed`.

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3.
    """

    def __init__(
        self,
        *args: Any,
        router: Callable[[Choices, Sequence[float]], SequenceRouter | TokenRouter] = SequenceRouter,
        surrogate: Callable[[Choices], Surrogate] = Surrogate,
        surrogate_lr: float = 10.0,
        **kwargs: Any,
    ):
        super().__init__(*args, router=router, **kwargs)
        self.surrogate = surrogate
        self.lr_scales["surrogate"] = surrogate_lr

    def wrap(self, net: Supernet) -> Supernet:
        """Return the supernet with a router and a surrogate."""
        net = super().wrap(net)
        net.surrogate = self.surrogate(Choices(net.space))
        return net

    def step(self, net: Supernet, batch: Batch, draws: Sequence[Draw]) -> Iterator[Pass]:
        """Yield one pass per draw."""
        if all(split_role(draw.role)[0] == ROUTER for draw in draws):
            for draw in draws:
                yield self._through_surrogate(net, batch, draw)
        else:
            yield from super().step(net, batch, draws)

    def _through_surrogate(self, net: Any, batch: Batch, draw: Draw) -> Pass:
        inputs, labels = batch
        _, budget = split_role(draw.role)
        assert budget is not None
        view, weights = self.relaxed(net, inputs, budget, frozen=True)
        with torch.no_grad() if not isinstance(net.router, TokenRouter) else torch.enable_grad():
            logits = net.predict(view, inputs, draw.subnet).detach()  # of tokens: the shares need their graph
        fit, guide = net.surrogate.losses(weights, sequence_losses(logits, labels))
        loss = fit if guide is None else fit + guide + self.alpha * self.cost_losses(net, inputs, weights, budget)
        return Pass(draw.role, loss * self.role_loss(draw.role).weight, logits.flatten(0, 1))

    def relaxed(self, net: Any, inputs: Tensor, budget: float, frozen: bool) -> tuple[nn.Module, Weights]:
        """Return the masked network and its shares; those of tokens are there once it has run."""
        drawn = partial(self.gumbel.weights, net.router.choices)
        return self._masked(net, inputs, budget, drawn, self._token_shares, frozen)

    def _masked(
        self,
        net: Any,
        inputs: Tensor,
        budget: float,
        shares: Callable[[dict[Key, Tensor]], Weights],
        token_shares: Callable[[Tensor], Tensor],
        frozen: bool = False,
    ) -> tuple[nn.Module, Weights]:
        of_tokens = isinstance(net.router, TokenRouter)
        weights = shares(net.router(budget) if of_tokens else self._logits(net, inputs)(budget))
        view = masked(net, weights, frozen)
        if of_tokens:
            net.router.attach(net, view, weights, budget, token_shares)
        return view, weights

    def _logits(self, net: Any, inputs: Tensor) -> Callable[[float], dict[Key, Tensor]]:
        """Return the logits of sequences as a function of the budget."""
        embedded = net.model.get_input_embeddings()(inputs)
        return lambda budget: net.router.logits(budget, embedded)

    @torch.no_grad()
    def measure(self, net: Any, budget: float, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the mean cost and loss of held-out sequences by their most likely choices."""
        found = []
        for inputs, labels in batches:
            view, weights = self._masked(net, inputs, budget, net.router.choices.harden, _one_hot)
            loss = sequence_losses(net.predict(view.eval(), inputs, net.space.max()), labels).mean()
            found.append((self.cost_of(net)(weights).item(), loss.item()))
        costs, losses = zip(*found)
        return {"cost": sum(costs) / len(costs), "loss": sum(losses) / len(losses)}

    def _token_shares(self, logits: Tensor) -> Tensor:
        soft = self.gumbel.soft(logits)
        return straight_through(soft, _one_hot(soft))

    def chosen(self, net: Any) -> dict[str, Subnet]:
        """Return nothing: each input has a subnet of its own."""
        return {}

    def cost_losses(self, net: Any, inputs: Tensor, weights: Weights, budget: float) -> Tensor:
        """Return the cost losses of the batch: of all budgets, or, where tokens choose, of the one that was run."""
        if isinstance(net.router, TokenRouter):
            return self.cost_loss(net, weights, budget)
        return self.expected_losses(net, self._logits(net, inputs))


def _one_hot(shares: Tensor) -> Tensor:
    """Return the largest of the shares (..., K), one-hot."""
    return F.one_hot(shares.argmax(-1), shares.shape[-1]).to(shares.dtype)


def sequence_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean label loss of each sequence (B,), of logits (B, T, V) and labels (B, T), without padding."""
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return losses.sum(1) / (labels != IGNORED).sum(1).clamp(min=1)
