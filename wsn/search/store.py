"""A table that grows by a row at a time, and survives being killed."""

import csv
import os
from pathlib import Path

from wsn.errors import WsnError
from wsn.files import Row, read_csv


class RowFile:
    """A CSV file to which each row is appended, on the disk, as soon as it is known.

    What an interrupted write left behind is removed when the file is opened again.

    Args:
        path: of the file; its columns are those of the first row.

    Raises:
        WsnError: the file cannot be read or written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows: list[Row] = []
        if self.path.exists():
            self._mend()
            self.rows = read_csv(self.path)

    def append(self, row: Row) -> None:
        """Add a row."""
        try:
            columns = list(self.rows[0] if self.rows else row)
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WsnError(f"Cannot write {self.path}: {error.strerror}. What is in it so far is kept") from error
        self.rows.append({key: row.get(key) for key in columns})

    def _mend(self) -> None:
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            self.path.write_bytes(whole)
