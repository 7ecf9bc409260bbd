"""Latency tables: each block of a supernet measured once on a device, summed for any subnet."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from wsn.cost_models.base import CostModel
from wsn.cost_models.latency import Latency
from wsn.cost_models.macs import Part, cost_table
from wsn.cost_models.runtimes import Device, Timing
from wsn.errors import WsnError
from wsn.files import write_atomically
from wsn.space import Subnet
from wsn.supernet import Supernet
from wsn.supernet.leaves import detach_tree

Key = tuple[str, str, str]


def key_of(part: Part) -> Key:
    """Return what identifies a part in a table: name, choices, input shape of one sample."""
    return part.name, json.dumps(part.choice), "x".join(map(str, part.shape[1:]))


def part_input(part: Part, batch: int = 1) -> torch.Tensor:
    """Return an input of a part: random, or zeros for tokens."""
    shape = (batch, *part.shape[1:])
    return torch.randn(shape) if part.dtype.is_floating_point else torch.zeros(shape, dtype=part.dtype)


class LatencyTable(CostModel):
    """Milliseconds of the parts of one supernet on one device; a subnet's latency is the sum over its parts.

    Args:
        path: of the JSON file that :meth:`save` wrote; None: an empty table.

    Raises:
        WsnError: the file is missing or not a latency table; a subnet has a part that was not measured.
    """

    label = "latency (ms)"

    def __init__(self, path: str | Path | None = None):
        self.entries: dict[Key, Timing] = {}
        self.measured_on: dict[str, Any] = {}
        self.check: dict[str, float] = {}
        self.path = path
        if path is not None:
            self._read(Path(path))

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        return sum(map(self.part, cost_table(net).parts(subnet)))

    def part(self, part: Part) -> float:
        """Return the milliseconds of a part."""
        entry = self.entries.get(key_of(part))
        if entry is None:
            raise WsnError(
                f"The latency table {self.path or ''} has no {part.name} with choices {part.choice} at input "
                f"{part.shape[1:]}: it is of another supernet, or of a part of the space. Make one with "
                "wsn latency-table run=..."
            )
        return entry.median_ms

    def hardware(self) -> dict[str, Any]:
        return self.measured_on

    def measure(
        self,
        net: Supernet,
        device: Device,
        batch: int = 1,
        parts: Iterable[Part] | None = None,
        min_seconds: float = 0.05,
        on_part: Callable[[], None] | None = None,
    ) -> "LatencyTable":
        """Measure parts (by default :func:`parts_of_space`) that the table does not have yet.

        Args:
            net: the supernet, whose weights' values do not matter.
            device: where and how.
            batch: samples per forward.
            parts: what to measure.
            min_seconds: for each part.
            on_part: called after each, for a progress bar.
        """
        self.measured_on = {**device.hardware(), "batch": batch}
        for part in parts_of_space(net) if parts is None else parts:
            if key_of(part) not in self.entries:
                module = detach_tree(net.part(part.name, part.choice))
                self.entries[key_of(part)] = device.latency(module, part_input(part, batch), min_seconds)
            if on_part:
                on_part()
        return self

    def compare(self, net: Supernet, subnets: Sequence[Subnet], whole: Latency) -> dict[str, float]:
        """Compare sums with measurements of whole networks; kept in the table.

        Returns:
            ``mean_error`` and ``max_error`` (relative), ``kendall_tau``, ``bias`` (mean of sum / whole), and
            ``noise``: the mean relative difference of a second measurement of the same networks.
        """
        from scipy.stats import kendalltau

        pairs = [(self(net, s), whole(net, s)) for s in subnets]
        again = [whole.measure(net, s).median_ms for s in subnets]
        errors = [abs(a - b) / b for a, b in pairs]
        self.check = {
            "subnets": len(pairs),
            "mean_error": sum(errors) / len(errors),
            "max_error": max(errors),
            "bias": sum(a / b for a, b in pairs) / len(pairs),
            "noise": sum(abs(a - b) / b for a, (_, b) in zip(again, pairs)) / len(pairs),
            "kendall_tau": float(kendalltau(*zip(*pairs)).statistic),
        }
        return self.check

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        entries = [[*key, t.median_ms, t.iqr_ms, t.calls] for key, t in self.entries.items()]
        head = json.dumps({"hardware": self.measured_on, "check": self.check})[1:-1]
        rows = ",\n".join(json.dumps(entry) for entry in entries)
        columns = json.dumps(["part", "choices", "input", "median_ms", "iqr_ms", "calls"])
        write_atomically(path, f'{{{head},\n"columns": {columns},\n"entries": [\n{rows}\n]}}\n')

    def _read(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text("utf-8"))
            self.measured_on, self.check = data["hardware"], data["check"]
            self.entries = {(a, b, c): Timing(*values) for a, b, c, *values in data["entries"]}
        except OSError as error:
            raise WsnError(f"Cannot read the latency table {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise WsnError(f"{path} is not a latency table of wsn: {type(error).__name__}: {error}") from error


def parts_of_space(net: Supernet, patience: int = 2000, seed: int = 0) -> list[Part]:
    """Return every part that subnets of a space are made of, each once.

    Subnets are drawn across the cost range, with each choice of each position taken in turn, until ``patience`` of them
    in a row have brought nothing new.
    """
    space, table, rng = net.space, cost_table(net), Random(seed)
    found: dict[Key, Part] = {}

    def add(subnet: Subnet) -> bool:
        before = len(found)
        for part in table.parts(subnet):
            found.setdefault(key_of(part), part)
        return len(found) > before

    for subnet in (space.min(), space.max()):
        add(subnet)
    quiet = 0
    while quiet < patience:
        bias = None if rng.random() < 0.5 else rng.random()
        quiet = 0 if add(space.sample(rng, bias)) else quiet + 1
    return list(found.values())
