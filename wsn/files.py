"""Files that a crash cannot spoil and two processes do not share, and tables of records."""

import csv
import errno
import json
import os
import re
import sys
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
    except OSError as error:  # of a full disk it has no name
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def place_for(path: str | Path, key: str) -> Path:
    """Make the folder of a file that will be written, and see that something can be written there: before the work.

    Args:
        path: of the file.
        key: option that named it, for the message.

    Returns:
        the path.

    Raises:
        WsnError: the folder cannot be made, or nothing can be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.{os.getpid()}")
        probe.touch()
        probe.unlink()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise WsnError(f"{key}: cannot write {path}: {error.strerror}. Choose another place: {key}=...") from error
    return path


def sweep_away(folder: Path) -> None:
    """Remove what :func:`replacing` left in a folder where its process was killed; nobody may be writing there."""
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.\d+(\.\w+)?", path.name):
            path.unlink(missing_ok=True)


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


def read_subnets(path: str | Path) -> list[Row]:
    """Read a table of subnets as :func:`read_csv`; lines that are no rows of it are left out, and said.

    Raises:
        WsnError: the file is missing, or nothing in it is whole.
    """
    good, bad = sorted_lines(path)
    if not good:
        raise WsnError(f"{path} is damaged: it does not begin with the names of columns. Restore it from a copy")
    if bad:
        print(f"{path}: {len(bad)} damaged lines are left out", file=sys.stderr)
    rows = csv.DictReader(line.decode("utf-8") for line in good)
    return [{key: value_of(key, text) for key, text in row.items()} for row in rows]


def sorted_lines(path: str | Path) -> tuple[list[bytes], list[bytes]]:
    """Return the lines of a table of subnets, its header first, and those that are no rows of it.

    Raises:
        WsnError: the file cannot be read.
    """
    try:
        lines = Path(path).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise WsnError(f"Cannot read {path}: {error.strerror}") from error
    columns = _fields(lines[0]) if lines else None
    if columns is None:
        return [], lines
    whole = [i == 0 or _is_row(line, columns) for i, line in enumerate(lines)]
    good = [line for line, is_whole in zip(lines, whole) if is_whole]
    return good, [line for line, is_whole in zip(lines, whole) if not is_whole]


def _fields(line: bytes) -> list[str] | None:
    """Return the fields of a line; None where it is no whole line of text."""
    try:
        text = line.decode("utf-8")
        (fields,) = csv.reader([text], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        return None
    return fields if text.endswith("\n") and "\0" not in text else None


def _is_row(line: bytes, columns: list[str]) -> bool:
    """Tell whether a line has a value of the right kind for each column, and no header again."""
    fields = _fields(line)
    if fields is None or len(fields) != len(columns) or fields == columns:
        return False
    row = {key: value_of(key, text) for key, text in zip(columns, fields)}
    if any(isinstance(value, str) for key, value in row.items() if key not in TEXTS):
        return False
    try:
        return "arch" not in row or isinstance(json.loads(row["arch"] or ""), dict)
    except ValueError:
        return False


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
