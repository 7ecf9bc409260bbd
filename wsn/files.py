"""Files that a crash cannot spoil and two processes do not share."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that a crash leaves the old one or the new one, never a part."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


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
