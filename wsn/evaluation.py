"""Evaluating many subnets of one supernet: BN calibration, metrics, a panel across the cost range."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from wsn.cost import cost
from wsn.images import at_resolution
from wsn.losses import counted
from wsn.methods.base import set_dropout
from wsn.metrics import SubnetMetrics
from wsn.subnet import Subnet
from wsn.supernet import Supernet


@dataclass(frozen=True)
class Candidate:
    """A subnet to evaluate, and why: ``largest``, ``smallest``, another given name, or ``random``."""

    kind: str
    subnet: Subnet


def candidates(net: Supernet, named: Mapping[str, Any], panel: int, seed: int = 0, pool: int = 500) -> list[Candidate]:
    """Return the named subnets and a panel of random ones spread evenly over the cost range.

    Args:
        net: the supernet.
        named: name → anything that :meth:`SearchSpace.find` takes.
        panel: number of random subnets.
        seed: of the panel; the same panel is evaluated throughout a run.
        pool: random subnets to choose the panel from.
    """
    chosen = {net.space.find(spec): name for name, spec in reversed(list(named.items()))}
    result = [Candidate(name, subnet) for subnet, name in reversed(list(chosen.items()))]
    result += [Candidate("random", s) for s in spread(net, panel, Random(seed), pool) if s not in chosen]
    return result


def spread(net: Supernet, count: int, rng: Random, pool: int) -> list[Subnet]:
    """Choose ``count`` random subnets whose MACs are spread evenly from the smallest to the largest."""
    if count < 1:
        return []
    space = net.space
    found = {space.sample(rng, size_bias=rng.random()) for _ in range(max(pool, count))}
    by_cost = sorted(found, key=lambda s: (cost(net, s).macs, s.id))
    low, high = cost(net, space.min()).macs, cost(net, space.max()).macs
    chosen: list[Subnet] = []
    for i in range(count):
        wanted = low + (high - low) * (i + 1) / (count + 1)
        rest = [s for s in by_cost if s not in chosen]
        if rest:
            chosen.append(min(rest, key=lambda s: abs(cost(net, s).macs - wanted)))
    return chosen


def calibrate(view: nn.Module, batches: Sequence[Tensor], subnet: Subnet) -> nn.Module:
    """Recompute batch-norm statistics of a view on training images, in buffers of its own.

    Cumulative averages of the batch statistics (``torch.optim.swa_utils.update_bn``); the supernet's statistics
    are untouched.

    Args:
        view: a view, or any module; its batch norms get new buffers, its dropout is turned off.
        batches: training images, each (B, C, H, W).
        subnet: whose resolution the images are resized to.

    Returns:
        the view itself, in evaluation mode.

    Source: US-Net, Yu & Huang 2019, §3.4, arXiv:1903.05134. Differs from OFA's released code: unbiased variance, and
    batches count equally.
    """
    set_dropout(view, on=False)
    own_statistics(view)
    like = next(view.parameters())
    with torch.no_grad():
        update_bn([at_resolution(b.to(like.device, like.dtype), subnet) for b in batches], view)
    return view.eval()


def own_statistics(view: nn.Module) -> None:
    """Give every batch norm of a view its own buffers."""
    with torch.inference_mode(False), torch.no_grad():
        for module in view.modules():
            if isinstance(module, _BatchNorm):
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = torch.clone(buffer)


def evaluate(
    net: Supernet,
    subnets: Sequence[Subnet],
    loader: Iterable[tuple[Tensor, Tensor]],
    calibration: Sequence[Tensor] | None,
    new_metrics: Callable[[], SubnetMetrics],
    channels_last: bool = False,
    on_batch: Callable[[], None] | None = None,
) -> list[dict[str, float]]:
    """Measure subnets on one data set: each batch is loaded once and seen by all of them.

    Args:
        net: the supernet; its weights, statistics and mode are the same afterwards.
        subnets: what to evaluate; all their views are alive at once (memory: one set of BN statistics each).
        loader: batches of images (B, C, H, W) and classes (B,), or of tokens (B, T) and the next tokens (B, T).
        calibration: training images for BN calibration; None evaluates with the shared statistics.
        new_metrics: makes the metrics of one subnet, e.g. ``partial(ImageMetrics, num_classes)``.
        channels_last: memory format of the images.
        on_batch: called after each (subnet, batch), for a progress bar.

    Returns:
        the metrics of each subnet.
    """
    like = next(net.parameters())
    mode = torch.channels_last if channels_last else torch.contiguous_format
    with torch.no_grad():
        views = [_evaluation_view(net, s, calibration, mode) for s in subnets]
        metrics = [new_metrics().to(like.device) for _ in subnets]
        for inputs, labels in loader:
            inputs, labels = _placed(inputs, like, mode), labels.to(like.device)
            for subnet, view, metric in zip(subnets, views, metrics):
                metric.update(*counted(net.predict(view, inputs, subnet).float(), labels))
                if on_batch:
                    on_batch()
    return [metric.results() for metric in metrics]


def _placed(inputs: Tensor, like: Tensor, mode: torch.memory_format) -> Tensor:
    """Move images to a parameter's device and dtype, tokens to its device."""
    if not inputs.is_floating_point():
        return inputs.to(like.device)
    return inputs.to(like.device, like.dtype, memory_format=mode)


def _evaluation_view(net: Supernet, subnet: Subnet, calibration, mode) -> nn.Module:
    view = net.view(subnet)
    if calibration is None or not any(isinstance(m, _BatchNorm) for m in view.modules()):
        return view.eval()
    return calibrate(view, [b.to(memory_format=mode) for b in calibration], subnet)


def row(net: Supernet, candidate: Candidate, metrics: Mapping[str, float], **where: Any) -> dict[str, Any]:
    """Return the record of one evaluated subnet, as subnets.csv holds it.

    Args:
        net: the supernet.
        candidate: what was evaluated.
        metrics: of :func:`evaluate`.
        **where: split, phase, epoch, step.
    """
    spent = cost(net, candidate.subnet)
    return {
        "id": candidate.subnet.id,
        "kind": candidate.kind,
        **where,
        "macs": spent.macs,
        "params": spent.params,
        "latency_ms": None,
        **metrics,
        "arch": candidate.subnet.to_json(),
    }
