"""Sorted fine-tuning (SoFT): all depths of a language model learn from one forward."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.cost_models.macs import cost
from wsn.errors import WsnError
from wsn.losses import counted, label_loss
from wsn.methods.base import Batch, Method, Pass
from wsn.samplers.base import Draw
from wsn.space import Subnet
from wsn.supernet import Supernet
from wsn.supernet.leaves import set_dropout


class SoFT(Method):
    """Sorted LLaMA's fine-tuning: the first n layers, for several n, share the final norm and head; mean of losses.

    One forward of the deepest sub-model; its residual stream after each n goes through norm and head. Logits are
    made chunk by chunk, and again in the backward, so that memory stays near one chunk's whatever the number of exits.

    Args:
        *args: as for :class:`Method`.
        chunk_tokens: positions whose logits are alive at once.
        **kwargs: as for :class:`Method`.

    Raises:
        WsnError: a backbone that is not a language model, or subnets that are not the first layers of one another.

    Source: Sorted LLaMA, Kavehzadeh et al. 2023, arXiv:2309.08968, §3, equation 2 (the mean; the prose says sum).
    """

    def __init__(self, *args: Any, chunk_tokens: int = 1024, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if chunk_tokens < 1:
            raise WsnError(f"method.chunk_tokens must be at least 1. Received {chunk_tokens}")
        self.chunk_tokens = chunk_tokens

    def wrap(self, net: Supernet) -> Supernet:
        if not isinstance(net, CausalLMSupernet):
            raise WsnError(
                "method=soft trains language models. Set backbone=llama or backbone=gpt2, and data=shakespeare"
            )
        return super().wrap(net)

    def step(self, net: Supernet, batch: Batch, draws: Sequence[Draw]) -> Iterator[Pass]:
        """Yield the one pass of all exits; its logits are the deepest sub-model's last chunk."""
        assert isinstance(net, CausalLMSupernet)
        inputs, labels = batch
        depths = exits(net, [draw.subnet for draw in draws])
        role = draws[0].role
        view = net.view(draws[0].subnet)
        if not self.role_loss(role).dropout:
            set_dropout(view, on=False)
        head = net.head(view)
        losses = []
        for hidden in net.hidden_states(view, inputs, sorted(depths)):
            loss, logits = self._loss(head, hidden, labels)
            losses.append(loss)
        yield Pass(role, torch.stack(losses).mean() * self.role_loss(role).weight, logits)

    def _loss(self, head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean label loss of one exit, and its last logits."""
        hidden, wanted = counted(hidden, labels)

        def chunk(part: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            logits = head(part)
            return label_loss(logits, target, self.label_smoothing) * len(target), logits[-1:].detach()

        total, logits = hidden.new_zeros(()), hidden
        for part, target in zip(hidden.split(self.chunk_tokens), wanted.split(self.chunk_tokens)):
            loss, logits = checkpoint(chunk, part, target, use_reentrant=False)
            total = total + loss
        return total / max(len(wanted), 1), logits

    def passes(self, draws: Sequence[Draw]) -> int:
        """Return 1: all exits are one pass."""
        return 1

    def macs(self, net: Supernet, draws: Sequence[Draw], teacher: bool = True) -> int:
        """Return the multiply-adds of a step for one token: the deepest once, and a head more for each other exit."""
        assert isinstance(net, CausalLMSupernet)
        head = net.model.lm_head.weight.numel()
        return 3 * cost(net, draws[0].subnet).macs + (len(draws) - 1) * 4 * head  # a head runs again in the backward


def exits(net: CausalLMSupernet, subnets: Sequence[Subnet]) -> list[int]:
    """Return the number of layers of subnets that are the first layers of the first one.

    Raises:
        WsnError: they are not.
    """
    deepest = list(net.blocks(subnets[0]).items())
    depths = []
    for subnet in subnets:
        blocks = list(net.blocks(subnet).items())
        if blocks != deepest[: len(blocks)]:
            raise WsnError(
                "method=soft trains the first layers of one network; these subnets are not. Take sampler=exits, and "
                "backbone.keep=first"
            )
        depths.append(len(blocks))
    return depths
