"""What makes a subnet good on a task: the measure of the front, of pictures and of tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
BITS = Quality(
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


DIRECTIONS = {"acc": "max", "acc5": "max", "loss": "min", "perplexity": "min", "bits_per_byte": "min"}
"""Whether much or little of a metric is good."""


def quality_of_metrics(names: Sequence[str]) -> Quality:
    """Return the measure of a task whose metrics have these names."""
    return BITS if BITS.key in names else ACCURACY


def quality_of(rows: Sequence[Mapping[str, Any]]) -> Quality:
    """Return the measure of these rows: bits per byte where they have it (language), else accuracy.

    >>> quality_of([{"acc": 0.5, "bits_per_byte": 2.0}]).key
    'bits_per_byte'
    """
    return BITS if rows and rows[0].get(BITS.key) is not None else ACCURACY
