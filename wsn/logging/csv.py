"""metrics.csv: every logged value, appended, whole after a crash and after a resume."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only, rank_zero_warn

from wsn.files import Row, read_csv, write_csv


class CSVLogger(Logger):
    """Log to ``metrics.csv`` in the run folder.

    Lightning's own CSVLogger deletes the file when a run is resumed in its folder; this one keeps the rows up
    to the step that the run goes on from (:meth:`resume_from`). Values of one step share a row.

    Args:
        save_dir: the run folder.
        flush_every: logged steps between two writes of the file.
    """

    def __init__(self, save_dir: str | Path, flush_every: int = 50):
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self.flush_every = flush_every
        self._rows: dict[int, Row] = {}
        self._pending = 0

    @property
    def name(self) -> str:
        """Return no name: the run folder is the logger's."""
        return ""

    @property
    def version(self) -> str:
        """Return no version: the run folder is the logger's."""
        return ""

    @property
    def save_dir(self) -> str:
        """Return the run folder."""
        return str(self.path.parent)

    @property
    def rows(self) -> list[Row]:
        """Return the rows so far, by step."""
        return [self._rows[step] for step in sorted(self._rows)]

    def resume_from(self, step: int, last: Row | None = None) -> None:
        """Take back the rows up to where a checkpoint was written; later ones will be logged again.

        Args:
            step: that of the checkpoint.
            last: the last row as it was then; None: all rows up to that step are whole.
        """
        rows = read_csv(self.path) if self.path.exists() else []
        kept = [row for row in rows if row.get("step") is not None and row["step"] <= step]
        self._rows = {row["step"]: {k: v for k, v in row.items() if v is not None} for row in kept}
        if last is not None:
            self._rows = {step: row for step, row in self._rows.items() if step < last["step"]}
            self._rows[last["step"]] = dict(last)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add values to the row of a step."""
        step = len(self._rows) if step is None else step
        row = self._rows.setdefault(step, {"step": step, "epoch": None})
        row.update({key: float(value) if key != "epoch" else int(value) for key, value in metrics.items()})
        self._pending += 1
        if self._pending >= self.flush_every:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the file."""
        self._pending = 0
        if not self._rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_csv(self.path, self.rows)
        except OSError as error:  # results matter more than their log: go on
            rank_zero_warn(f"Cannot write {self.path}: {error.strerror}. Training goes on without it")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is pending."""
        self.save()
