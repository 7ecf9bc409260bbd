"""A table that grows by a row at a time, and survives being killed."""

import csv
import os
import sys
from pathlib import Path

from wsn.errors import WsnError
from wsn.files import Row, read_csv, replacing, sorted_lines


class RowFile:
    """A CSV file to which each row is appended, on the disk, as soon as it is known.

    What is no row when the file is opened again (an interrupted write, or damage) is set aside, beside it, and said.

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
        if self.path.exists():
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
        """Set aside the lines that are no rows of this table, and say so; the others stay as they are."""
        good, bad = sorted_lines(self.path)
        if not good and not bad:
            print(f"{self.path} is empty: what it had is measured again", file=sys.stderr)
        if not bad:
            return
        aside = self.path.with_suffix(".damaged")
        try:
            with open(aside, "ab") as file:
                file.writelines(bad)
            with replacing(self.path) as temporary:
                temporary.write_bytes(b"".join(good))
        except OSError as error:
            raise WsnError(f"Cannot write {self.path}: {error.strerror}. What is in it so far is kept") from error
        if not good:
            self.path.unlink()
        print(f"{self.path}: {len(bad)} damaged lines were set aside in {aside.name}", file=sys.stderr)
