"""Tables of subnets: records as CSV files, with their types."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsn.errors import WsnError
from wsn.files import replacing

Row = dict[str, Any]


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as a table whose columns are all their keys; None becomes empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | Path) -> list[Row]:
    """Read a table that :func:`write_csv` wrote: numbers, True and False come back as such, empty as None.

    Raises:
        WsnError: the file is missing.
    """
    try:
        with open(path, newline="") as file:
            return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise WsnError(f"Cannot read {path}: {error.strerror}") from error


def _value(key: str, text: str) -> Any:
    if text == "":
        return None
    if key in ("id", "arch", "kind", "phase", "split", "job", "label"):
        return text
    if text in ("True", "False"):
        return text == "True"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
