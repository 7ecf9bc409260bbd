"""Constraints such as ``macs<=300e6``; pure Python, so that a mistake answers at once."""

import operator
import re
from collections.abc import Iterable, Mapping
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


def check_keys(constraints: Iterable[Constraint], known: Iterable[str], where: str) -> None:
    """Check that what is constrained is known.

    Raises:
        WsnError: an unknown key.
    """
    known = list(known)
    for constraint in constraints:
        if constraint.key not in known:
            raise WsnError(f"{where}: unknown {constraint.key!r} in {constraint}. Known are {listed(known)}")
