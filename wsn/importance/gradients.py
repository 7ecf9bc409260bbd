"""Importance by gradients."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from wsn.supernet.order import ChannelScore, as_weight, readers
from wsn.supernet.precision import full_precision


def taylor(model: nn.Module, batches: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor]) -> ChannelScore:
    """Score a channel by how much the loss would change without it, to first order: (Σ weight · gradient)².

    Args:
        model: the largest network; its gradients are replaced.
        batches: a few batches of training data.
        loss: (model, batch) → scalar.

    Source: Molchanov et al. 2019, arXiv:1906.10771, equation 8, on the weights that read the channel.
    """
    scores: dict[str, Tensor] = {}
    layers: dict[str, Any] = readers(model)
    with torch.enable_grad():
        for batch in batches:
            model.zero_grad(set_to_none=True)
            loss(model, batch).backward()
            for path, leaf in layers.items():
                if leaf.weight.grad is not None:
                    found = full_precision(as_weight(leaf, leaf.weight.grad * leaf.weight.detach())).sum(0).square()
                    scores[path] = scores.get(path, 0) + found
    model.zero_grad(set_to_none=True)
    return ChannelScore(lambda path: scores[path])
