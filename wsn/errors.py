"""The one error that wsn raises for what a user can mend."""

import errno
from collections.abc import Iterable
from typing import Any

_NOT_WRITTEN = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO")}
_SAID = (
    "No space left on device",
    "PytorchStreamWriter failed",
    "unexpected pos",
    "Disk quota exceeded",
)  # in messages of libraries


class WsnError(ValueError):
    """Bad input: says what was received, what is allowed, and how to fix it.

    The command-line scripts print its text alone, without a stack trace.
    """


def not_written(error: BaseException, advice: str = "") -> str | None:
    """Return what to tell about an error of the disk: full, read-only, not ours; None of another error.

    Args:
        error: of Python, or of a library that says so in its text.
        advice: what to do when there is room.

    >>> not_written(OSError(28, "No space left on device", "front.png")).partition(";")[0]
    'front.png: No space left on device. Make room, or choose another folder'
    """
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
        what = f"{error.filename or 'A file'}: {error.strerror}"
    elif any(text in str(error) for text in _SAID):
        what = str(error).partition("\n")[0]
    else:
        return None
    return f"{what}. Make room, or choose another folder; files written before are whole. {advice}".strip()


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
