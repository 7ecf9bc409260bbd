"""The one error that wsn raises for what a user can mend."""

from collections.abc import Iterable
from typing import Any


class WsnError(ValueError):
    """Bad input: says what was received, what is allowed, and how to fix it.

    The command-line scripts print its text alone, without a stack trace.
    """


def listed(values: Iterable[Any], limit: int = 12) -> str:
    """Format allowed values for an error message, shortened to ``limit`` entries.

    >>> listed(["a", "b"])
    'a, b'
    """
    values = [str(value) for value in values]
    if len(values) > limit:
        half = limit // 2
        values = [*values[:half], "...", *values[-half:]]
    return ", ".join(values)
