"""Checkpoints that a crash cannot spoil."""

import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Checkpoint

from wsn.callbacks.common import logged_rows, logged_step
from wsn.config.moved import check_format
from wsn.errors import WsnError, listed
from wsn.evaluation.quality import DIRECTIONS
from wsn.files import replacing
from wsn.logging.csv import CSVLogger


class StepCheckpoint(Checkpoint):
    """Keep ``last.ckpt`` of the run folder up to date, every few steps, and ``best.ckpt`` by held-out data.

    Args:
        folder: where they are kept.
        every_n_steps: optimizer steps between two checkpoints.
        monitor: by which the best one is chosen after each evaluation of held-out data: ``pareto/hypervolume``, or a
            metric of a named subnet, ``val/smallest/acc``; None keeps no best one.

    Raises:
        WsnError: fewer than one step, or a metric that an evaluation does not have.
    """

    def __init__(self, folder: str | Path, every_n_steps: int = 50, monitor: str | None = "pareto/hypervolume"):
        if every_n_steps < 1:
            raise WsnError(f"callbacks.checkpoint.every_n_steps must be at least 1. Received {every_n_steps}")
        self.path = Path(folder) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best: float | None = None
        self._evaluated = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value back."""
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the last row of metrics.csv: what comes to it later is not of this checkpoint."""
        rows = logged_rows(trainer)
        checkpoint["last_row"] = rows[-1] if rows else None

    def on_subnets_evaluated(self, trainer: L.Trainer, module: L.LightningModule, rows: list[dict[str, Any]]) -> None:
        """Called after an evaluation; of held-out data a better checkpoint may follow."""
        self._evaluated = rows[0]["split"] == "val"

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time, and where the process was asked to end; optimizer steps count, not batches.

        Between the batches of a step the gradient so far would be lost.
        """
        # The last batch of an epoch is saved with the evaluation that follows it, below.
        if trainer.is_last_batch or not pl_module.steps_now(batch_idx):  # type: ignore[operator]
            return
        if trainer.global_step % self.every_n_steps == 0 or trainer.received_sigterm:
            self._log_now(trainer)
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after the other callbacks have evaluated: Lightning runs checkpoint callbacks last."""
        better = self._evaluated and self.monitor is not None and self._better(trainer.callback_metrics)
        self._evaluated = False
        self._save(trainer)
        if better and trainer.is_global_zero:
            with replacing(self.path.with_name("best.ckpt")) as path:
                shutil.copyfile(self.path, path)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the finished weights. An interrupted step is not saved: the last whole one is."""
        if trainer.global_step and not trainer.interrupted:
            self._save(trainer)

    def _better(self, metrics: Mapping[str, Any]) -> bool:
        """Tell whether the monitored metric is the best one so far, and keep it."""
        assert self.monitor is not None
        if self.monitor not in metrics:
            known = [name for name in metrics if name.startswith(("val/", "pareto/"))]
            raise WsnError(
                f"callbacks.checkpoint.monitor={self.monitor} is not measured on held-out data; there are "
                f"{listed(known)}"
            )
        value = float(metrics[self.monitor])
        sign = -1 if DIRECTIONS.get(self.monitor.rpartition("/")[2]) == "min" else 1
        if self.best is not None and sign * value <= sign * self.best:
            return False
        self.best = value
        return True

    @staticmethod
    def _log_now(trainer: L.Trainer) -> None:
        """Give the step's values to metrics.csv: Lightning logs them after this hook, a resumed run not again."""
        connector = trainer._logger_connector
        if connector.should_update_logs:
            values = {**convert_tensors_to_scalars(connector.metrics["log"]), "epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                if isinstance(logger, CSVLogger):
                    logger.log_metrics(values, step=logged_step(trainer))

    def _save(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:  # first: what a log has beyond its checkpoint is taken away by a resume
            logger.save()
        trainer.save_checkpoint(self.path)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place and move it there: the one before stays whole until then."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically.

        Raises:
            WsnError: the disk is full or the folder cannot be written; the checkpoint before is intact.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            kept = f"The checkpoint before it is intact. Make room, then go on with resume={path.parent.parent}"
            none = "There is none before it. Make room, then start again"
            raise WsnError(
                f"Cannot write the checkpoint {path}: {error}. Is the disk full? {kept if path.exists() else none}"
            ) from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        WsnError: it is missing, truncated, not as it was written, or not a checkpoint of wsn.
    """
    path = Path(path)
    if not path.is_file():
        raise WsnError(f"There is no checkpoint {path}; the run ended before its first one. Start it again")
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # by the checksum of each entry, which torch itself does not look at
                raise zipfile.BadZipFile(damaged)
            _allow_quantised(archive)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        NotImplementedError,
        AttributeError,
        TypeError,
        zlib.error,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as e:
        raise WsnError(
            f"The checkpoint {path} is corrupt or truncated ({type(e).__name__}). The results beside it are whole; "
            "restore the file from a copy, or start the run again"
        ) from e
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise WsnError(f"{path} is not a checkpoint of wsn: it holds no state_dict")
    check_format(checkpoint, path)
    return checkpoint


def _allow_quantised(archive: zipfile.ZipFile) -> None:
    """Import torchao where a checkpoint has its tensors: only then may they be read."""
    names = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if any(b"torchao" in archive.read(name) for name in names):
        import torchao.quantization  # noqa: F401
