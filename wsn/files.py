"""Files that a crash cannot spoil and two processes do not share."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the path of a file to write beside ``path``, and move it there; where writing fails, it is removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that a crash leaves the old one or the new one, never a part."""
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(path: str | Path) -> Iterator[bool]:
    """Hold a lock file, which a process that ends in any way gives up; gives whether it could be had."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
