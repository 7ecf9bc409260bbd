"""How important the input channels of a layer are: by its weights, by gradients, or by what flows into it.

A score maps the path of a layer to the importance of each of its input channels (C,). A group of coupled channels is
as important as the layers that read it find it; :meth:`wsn.supernet.Supernet.order_channels` sorts by it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Score = Callable[[str], Tensor]


def magnitude(model: nn.Module, p: int = 1) -> Score:
    """Score a channel by the L1 norm of the weights that read it (OFA's order), or the L2 norm.

    Args:
        model: the largest network.
        p: 1 or 2.

    Source: Once-for-All, Cai et al. 2020, §3.3 (elastic width); Li et al. 2017, arXiv:1608.08710, §3.1.
    """

    def score(path: str) -> Tensor:
        weight = _weight(model.get_submodule(path)).detach().float()
        return weight.abs().sum(0) if p == 1 else weight.square().sum(0).sqrt()

    return score


def taylor(model: nn.Module, batches: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor]) -> Score:
    """Score a channel by how much the loss would change without it, to first order: (Σ weight · gradient)².

    Args:
        model: the largest network; its gradients are replaced.
        batches: a few batches of training data.
        loss: (model, batch) → scalar.

    Source: Molchanov et al. 2019, arXiv:1906.10771, equation 8, on the weights that read the channel.
    """
    scores: dict[str, Tensor] = {}
    layers = {path: leaf for path, leaf in model.named_modules() if _reads_channels(leaf)}
    with torch.enable_grad():
        for batch in batches:
            model.zero_grad(set_to_none=True)
            loss(model, batch).backward()
            for path, leaf in layers.items():
                if leaf.weight.grad is not None:
                    found = _as_weight(leaf, leaf.weight.grad * leaf.weight.detach()).float().sum(0).square()
                    scores[path] = scores.get(path, 0) + found
    model.zero_grad(set_to_none=True)
    return lambda path: scores[path]


def wanda(model: nn.Module, batches: Iterable[Any]) -> Score:
    """Score a channel by Σ |weight| · ‖input‖₂ over the weights that read it.

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches of inputs.

    Source: Wanda, Sun et al. 2024, arXiv:2306.11695, equation 1, summed over the outputs for whole channels.
    """
    moments = _input_moments(model, batches)

    def score(path: str) -> Tensor:
        _, squares, _ = moments[path]
        return _weight(model.get_submodule(path)).detach().float().abs().sum(0) * squares.sqrt()

    return score


def flap(model: nn.Module, batches: Iterable[Any]) -> Score:
    """Score a channel by the variance of its input · the squared norm of the weights that read it (WIFV).

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches of inputs.

    Source: FLAP, An et al. 2024, arXiv:2312.11983, equation 5.
    """
    moments = _input_moments(model, batches)

    def score(path: str) -> Tensor:
        sums, squares, count = moments[path]
        variance = (squares / count - (sums / count).square()).clamp(min=0) * count / max(count - 1, 1)
        return variance * _weight(model.get_submodule(path)).detach().float().square().sum(0)

    return score


@torch.no_grad()
def _input_moments(model: nn.Module, batches: Iterable[Any]) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Return sum (C,), sum of squares (C,) and number of the inputs of each layer, over all positions."""
    moments: dict[str, tuple[Tensor, Tensor, int]] = {}

    def hook(path: str):
        def record(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach().float()
            x = x.movedim(1, -1) if isinstance(layer, nn.Conv2d) else x
            x = x.flatten(0, -2)
            sums, squares, count = moments.get(path, (0, 0, 0))
            moments[path] = sums + x.sum(0), squares + x.square().sum(0), count + len(x)

        return record

    handles = [
        leaf.register_forward_pre_hook(hook(path)) for path, leaf in model.named_modules() if _reads_channels(leaf)
    ]
    try:
        for batch in batches:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return moments


def _reads_channels(leaf: nn.Module) -> bool:
    return isinstance(leaf, nn.Linear) or (isinstance(leaf, nn.Conv2d) and leaf.groups == 1) or _transposed(leaf)


def _transposed(leaf: nn.Module) -> bool:
    return type(leaf).__name__ == "Conv1D"  # GPT-2's linear layer, whose weight is (in, out)


def _weight(leaf: nn.Module) -> Tensor:
    return _as_weight(leaf, leaf.weight)  # type: ignore[arg-type]


def _as_weight(leaf: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight as (everything else, input channels)."""
    return weight.T if _transposed(leaf) else weight.movedim(1, -1).flatten(0, -2)
