"""Qualities: the measure by which subnets of a task are compared, in fronts, pictures and tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsn.errors import WsnError
from wsn.files import write_atomically

FILE = "quality.json"


@dataclass(frozen=True)
class Quality:
    """A measure of evaluated subnets.

    Args:
        key: in the rows of subnets.csv.
        direction: ``max`` or ``min``, the better ones.
        label: on axes, with the unit.
        unit: after a number.
        scale: from the row's value to the shown one.
        worst: the value of a network that knows nothing.
        columns: of tables: title, key, scale, digits.
    """

    key: str
    direction: str
    label: str
    unit: str
    scale: float
    worst: float
    columns: tuple[tuple[str, str, float, int], ...]

    @property
    def objectives(self) -> Mapping[str, str]:
        """Objectives of the front."""
        return {"macs": "min", self.key: self.direction}

    @property
    def sign(self) -> int:
        """1 where much is good, -1 where little is."""
        return 1 if self.direction == "max" else -1

    @property
    def name(self) -> str:
        """The label without its unit."""
        return self.label.partition(" (")[0]

    def shown(self, row: Mapping[str, Any]) -> float:
        """Return a row's value as tables and pictures show it."""
        return self.scale * row[self.key]

    def text(self, row: Mapping[str, Any]) -> str:
        """Return a row's value with its unit."""
        return f"{self.shown(row):.{self.digits}f}{self.unit}"

    @property
    def digits(self) -> int:
        """Decimal places in texts and in means over seeds: one fewer than in tables of one run."""
        return max(next(d for _, key, _, d in self.columns if key == self.key) - 1, 1)

    def hypervolume_share(self, volume: float, macs: float) -> float:
        """Return a hypervolume up to ``macs`` and :attr:`worst` as a share of the largest possible."""
        best = 1.0 if self.direction == "max" else 0.0
        return volume / (macs * abs(best - self.worst))


ACCURACY = Quality(
    key="acc",
    direction="max",
    label="top-1 accuracy (%)",
    unit=" %",
    scale=100,
    worst=0.0,
    columns=(("top-1 (%)", "acc", 100, 2), ("top-5 (%)", "acc5", 100, 2), ("loss", "loss", 1, 3)),
)
BITS_PER_BYTE = Quality(
    key="bits_per_byte",
    direction="min",
    label="bits per byte",
    unit=" bits/byte",
    scale=1,
    worst=8.0,
    columns=(
        ("perplexity", "perplexity", 1, 2),
        ("bits/byte", "bits_per_byte", 1, 3),
        ("tokens right (%)", "acc", 100, 2),
    ),
)


MEAN_AP = Quality(
    key="map",
    direction="max",
    label="mean average precision (%)",
    unit=" %",
    scale=100,
    worst=0.0,
    columns=(("mAP (%)", "map", 100, 2), ("F1 (%)", "f1", 100, 2), ("loss", "loss", 1, 3)),
)

DIRECTIONS = {
    "acc": "max", "acc5": "max", "f1": "max", "map": "max", "loss": "min", "perplexity": "min", "bits_per_byte": "min",
}  # fmt: skip
"""Whether much or little of a metric is good."""

_KNOWN = {quality.key: quality for quality in (ACCURACY, BITS_PER_BYTE, MEAN_AP)}


def know(quality: Quality) -> None:
    """Let rows that have this measure be read by it; a task does so when it is made."""
    _KNOWN.setdefault(quality.key, quality)
    DIRECTIONS.setdefault(quality.key, quality.direction)


def worst_of(key: str) -> float:
    """Return the value of a metric from which on nothing is gained: that of a network that knows nothing."""
    others = {"perplexity": 1e4, "loss": 10.0}
    return _KNOWN[key].worst if key in _KNOWN else others.get(key, 1.0 if DIRECTIONS.get(key) == "min" else 0.0)


def quality_of_metrics(names: Sequence[str]) -> Quality:
    """Return the measure of a task whose metrics have these names: accuracy, unless there is another."""
    found = [quality for quality in _KNOWN.values() if quality.key in names]
    return found[-1] if found else ACCURACY


def quality_of(rows: Sequence[Mapping[str, Any]]) -> Quality:
    """Return the measure of these rows, as :func:`quality_of_metrics`.

    >>> quality_of([{"acc": 0.5, "bits_per_byte": 2.0}]).key
    'bits_per_byte'
    """
    return quality_of_metrics([key for key, value in rows[0].items() if value is not None] if rows else [])


def write_quality(quality: Quality, folder: str | Path) -> None:
    """Write a measure into a folder of results, for readers that do not know its task."""
    write_atomically(Path(folder) / FILE, json.dumps(asdict(quality), indent=1))


def read_quality(folder: str | Path) -> None:
    """Know the measure of a folder of results, if it says one.

    Raises:
        WsnError: the file is not what :func:`write_quality` writes.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text("utf-8"))
        know(Quality(**{**values, "columns": tuple(map(tuple, values["columns"]))}))
    except (ValueError, TypeError, KeyError) as error:
        raise WsnError(f"{path} is damaged: {error!r}. Remove it; the usual measures are known without it") from error
