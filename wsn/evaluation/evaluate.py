"""Evaluating many subnets of one supernet: BN calibration, metrics, a panel across the cost range."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsn.cost_models.macs import cost
from wsn.errors import WsnError
from wsn.evaluation.metrics import SubnetMetrics
from wsn.files import read_csv
from wsn.space import SearchSpace, Subnet
from wsn.supernet import Supernet
from wsn.supernet.images import at_resolution, not_finite
from wsn.supernet.leaves import set_dropout
from wsn.supernet.precision import full_precision
from wsn.supernet.prefix import SharedPrefixes, prefix_order


@dataclass(frozen=True)
class Candidate:
    """A subnet to evaluate, and why: ``largest``, ``smallest``, another given name, or ``random``."""

    kind: str
    subnet: Subnet


def candidates(
    net: Supernet,
    named: Mapping[str, Any],
    panel: int,
    seed: int = 0,
    pool: int = 500,
    table: str | Path | None = None,
) -> list[Candidate]:
    """Return the named subnets, those of a table, and a panel of random ones spread evenly over the cost range.

    Args:
        net: the supernet.
        named: name → anything that :meth:`SearchSpace.find` takes.
        panel: number of random subnets.
        seed: of the panel; the same panel is evaluated throughout a run.
        pool: random subnets to choose the panel from.
        table: a CSV file whose column ``arch`` has subnets; those that are not of the space are left out.
    """
    chosen = {net.space.find(spec): name for name, spec in reversed(list(named.items()))}
    result = [Candidate(name, subnet) for subnet, name in reversed(list(chosen.items()))]
    for subnet in members(net.space, table) if table else ():
        if subnet not in chosen:
            chosen[subnet] = "table"
            result.append(Candidate("table", subnet))
    result += [Candidate("random", s) for s in spread(net, panel, Random(seed), pool) if s not in chosen]
    return result


def members(space: SearchSpace, table: str | Path) -> list[Subnet]:
    """Return the subnets of a table (CSV with a column ``arch``) that are of a space, each once, in its order."""
    found: dict[Subnet, None] = {}
    for record in read_csv(table):
        try:
            found[space.find(record["arch"])] = None
        except WsnError:  # of a coupled or listed space that has only some of them
            continue
    return list(found)


def with_method(chosen: Sequence[Candidate], method: Any, net: Supernet) -> list[Candidate]:
    """Return the chosen subnets and those that the method chooses, as a router does, if they are not among them."""
    taken = {c.subnet for c in chosen}
    found = {subnet: name for name, subnet in method.chosen(net).items() if subnet not in taken}
    return [*chosen, *(Candidate(name, subnet) for subnet, name in found.items())]


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

    Cumulative averages of the batch statistics, as of ``torch.optim.swa_utils.update_bn``; the supernet's statistics
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
    like = next(view.parameters())
    with torch.no_grad(), calibrating([view]):
        for batch in batches:
            view(at_resolution(batch.to(like.device, like.dtype), subnet))
    return view


@contextmanager
def calibrating(views: Sequence[nn.Module]) -> Iterator[None]:
    """Let every batch norm of these views average what passes through it, in buffers of its own; without dropout.

    The views are in evaluation mode afterwards.
    """
    momenta: dict[_BatchNorm, float | None] = {}
    with torch.inference_mode(False), torch.no_grad():
        for view in views:
            set_dropout(view, on=False)
            for norm in (m for m in view.train().modules() if isinstance(m, _BatchNorm)):
                norm._buffers.update({n: torch.clone(b) for n, b in norm._buffers.items() if b is not None})
                norm.reset_running_stats()
                momenta[norm], norm.momentum = norm.momentum, None  # None: a cumulative average
    yield
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    for view in views:
        view.eval()


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

    Subnets that begin alike share the computation of that beginning, in BN calibration too; the results are those of
    one by one, bit for bit.

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
    views = calibrated_views(net, subnets, calibration, channels_last)
    return measure(net, views, subnets, loader, new_metrics, channels_last, on_batch)


def measure(
    net: Supernet,
    views: Sequence[nn.Module],
    subnets: Sequence[Subnet],
    loader: Iterable[tuple[Tensor, Tensor]],
    new_metrics: Callable[[], SubnetMetrics],
    channels_last: bool = False,
    on_batch: Callable[[], None] | None = None,
) -> list[dict[str, float]]:
    """Measure views of subnets, of :func:`calibrated_views`; the other arguments are those of :func:`evaluate`."""
    like, mode = next(net.parameters()), _memory_format(channels_last)
    with torch.inference_mode(False), torch.no_grad():
        metrics = [new_metrics().to(like.device) for _ in subnets]
        panel = _Panel(net, views, subnets)
        bad = seen = 0
        for inputs, labels in loader:
            bad, seen = bad + not_finite(inputs), seen + len(inputs)
            labels = labels.to(like.device)
            for i, logits in panel.logits_of(_placed(inputs, like, mode)):
                metrics[i].update(full_precision(logits), labels)
                if on_batch:
                    on_batch()
        panel.shared.release()
    if bad:
        rank_zero_warn(f"{bad} of the {seen} inputs evaluated have values that are not finite; their loss is nan")
    return [metric.results() for metric in metrics]


def calibrated_views(
    net: Supernet, subnets: Sequence[Subnet], calibration: Sequence[Tensor] | None, channels_last: bool = False
) -> list[nn.Module]:
    """Return views in evaluation mode, each with BN statistics of its own.

    Subnets that begin alike are calibrated together and have those statistics in common.

    Args:
        net: the supernet.
        subnets: the subnets that the views are of, in their order.
        calibration: training images; None leaves the shared statistics.
        channels_last: memory format of the images.
    """
    like, mode = next(net.parameters()), _memory_format(channels_last)
    with torch.inference_mode(False), torch.no_grad():
        views = [net.view(s) for s in subnets]
        if calibration is not None and any(isinstance(m, _BatchNorm) for v in views for m in v.modules()):
            panel = _Panel(net, views, subnets)
            with calibrating(views):
                for batch in calibration:
                    for _ in panel.logits_of(_placed(batch, like, mode)):
                        pass
            panel.shared.adopt()
            panel.shared.release()
    return [view.eval() for view in views]


class _Panel:
    """Views that see the same batches, each common beginning computed once."""

    def __init__(self, net: Supernet, views: Sequence[nn.Module], subnets: Sequence[Subnet]):
        self.net, self.views, self.subnets = net, views, subnets
        self.order = prefix_order(net, subnets)
        self.shared = SharedPrefixes(net, [views[i] for i in self.order], [subnets[i] for i in self.order])

    def logits_of(self, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield index and logits of every view."""
        self.shared.forget()
        for i in self.order:
            self.shared.begin()
            yield i, self.net.predict(self.views[i], inputs, self.subnets[i])


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _placed(inputs: Tensor, like: Tensor, mode: torch.memory_format) -> Tensor:
    """Move images to a parameter's device and dtype, tokens to its device."""
    if not inputs.is_floating_point():
        return inputs.to(like.device)
    return inputs.to(like.device, like.dtype, memory_format=mode)


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
