"""Files that a crash cannot spoil and two processes do not share, and tables of records."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wsn.errors import WsnError

Row = dict[str, Any]
"""A record, as tables of subnets have them."""


TEXTS = ("id", "arch", "kind", "phase", "split", "job", "label")
"""Columns of text in tables of records."""


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
        temporary.write_text(text, "utf-8")


@contextmanager
def locked(path: str | Path) -> Iterator[bool]:
    """Hold a lock file, which a process that ends in any way gives up; gives whether it could be had."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as a table whose columns are all their keys; None becomes empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | Path) -> list[Row]:
    """Read a table that :func:`write_csv` wrote: numbers, True and False come back as such, empty as None.

    Raises:
        WsnError: the file is missing.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [{key: value_of(key, text) for key, text in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise WsnError(f"Cannot read {path}: {error.strerror}") from error


def value_of(key: str, text: str) -> Any:
    """Return the value of a cell: text in the columns :data:`TEXTS`, else None, a bool or a number if it is one."""
    if text == "":
        return None
    if key in TEXTS:
        return text
    if text in ("True", "False"):
        return text == "True"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
