"""Constraints such as ``macs<=300e6``; pure Python, so that a mistake answers at once."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsn.errors import WsnError, listed

_COMPARE = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Constraint:
    """A limit of a cost or a metric, itself allowed.

    >>> Constraint.parse("macs<=300e6").holds({"macs": 3e8})
    True
    """

    key: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read ``key<=number`` or ``key>=number``.

        Raises:
            WsnError: the text is neither.
        """
        found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\deE_]+)\s*", str(text))
        try:
            if found is None:
                raise ValueError
            key, sign, limit = found.groups()
            return cls(key, sign[0] + "=", float(limit))
        except ValueError:
            raise WsnError(f"A constraint is key<=number or key>=number, e.g. macs<=300e6. Received {text!r}") from None

    @classmethod
    def parse_all(cls, value: Any) -> list["Constraint"]:
        """Read a list of constraints, or text with commas between them: ``[macs<=3e8, latency_ms<=20]``."""
        if value is None:
            return []
        texts = value.strip("[] ").split(",") if isinstance(value, str) else list(value)
        return [cls.parse(text) for text in texts if str(text).strip()]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row keeps to it; one without the value does not."""
        value = row.get(self.key)
        return value is not None and bool(_COMPARE[self.sign](value, self.limit))

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.limit:g}"


def within(rows: Sequence[Mapping[str, Any]], limits: Sequence[Constraint], where: str, advice: str = "") -> list[Any]:
    """Return the rows that keep to all limits.

    Args:
        rows: what is known of subnets, at least one.
        limits: constraints.
        where: the option that has them, for the message.
        advice: the end of the message: what finds other subnets.

    Raises:
        WsnError: no row does, or none has such a value.
    """
    for c in limits:
        if not any(isinstance(r.get(c.key), int | float) for r in rows):
            numbers = [k for k, v in rows[0].items() if isinstance(v, int | float) and not isinstance(v, bool)]
            raise WsnError(f"{where}: these subnets have no {c.key}; they have {listed(numbers)}{_latency(c.key)}")
    allowed = [r for r in rows if all(c.holds(r) for c in limits)]
    if not allowed:
        c = next((c for c in limits if not any(c.holds(r) for r in rows)), limits[0])
        values = [r[c.key] for r in rows if r.get(c.key) is not None]
        end, size = (min(values), "smallest") if c.sign == "<=" else (max(values), "largest")
        raise WsnError(f"{where}: no subnet has {c}; the {size} has {c.key} {end:.6g}. Relax it{advice}")
    return allowed


def _latency(key: str) -> str:
    return ". Search with cost=[macs,latency] to have latencies" if key == "latency_ms" else ""


def check_keys(constraints: Iterable[Constraint], known: Iterable[str], where: str) -> None:
    """Check that what is constrained is known.

    Raises:
        WsnError: an unknown key.
    """
    known = list(known)
    for constraint in constraints:
        if constraint.key not in known:
            raise WsnError(f"{where}: unknown {constraint.key!r} in {constraint}. Known are {listed(known)}")
