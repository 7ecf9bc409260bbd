"""The base of wsn's callbacks, and what they ask the Trainer."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging

from wsn.data.base import DataModule
from wsn.files import Row
from wsn.logging.csv import CSVLogger
from wsn.module import SupernetModule


class SupernetCallback(Callback):
    """A callback of a run of wsn: the module and the data of its hooks under their own types.

    Lightning hands hooks any module, and keeps the data module untyped.
    """

    @staticmethod
    def module_of(pl_module: L.LightningModule) -> SupernetModule:
        """Return the module as what it is."""
        assert isinstance(pl_module, SupernetModule)
        return pl_module

    @staticmethod
    def data_of(trainer: L.Trainer) -> DataModule:
        """Return the data module of the run."""
        return trainer.datamodule  # type: ignore[attr-defined]


def hooks(trainer: L.Trainer, name: str) -> list[Callable]:
    """Return that method of every callback that has it: how they hear of each other."""
    return [getattr(c, name) for c in trainer.callbacks if hasattr(c, name)]  # type: ignore[attr-defined]


def logged_rows(trainer: L.Trainer) -> list[Row]:
    """Return the rows of metrics.csv so far; none without that log."""
    return next((logger.rows for logger in trainer.loggers if isinstance(logger, CSVLogger)), [])


def logged_step(trainer: L.Trainer) -> int:
    """Return the step that Lightning logs under: batches trained so far."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def epoch_of(trainer: L.Trainer) -> int:
    """Return the epoch that training is in, the last one after its end."""
    return min(trainer.current_epoch, (trainer.max_epochs or 1) - 1)


def log_values(trainer: L.Trainer, values: Mapping[str, float]) -> None:
    """Send values to every logger, and keep them where Lightning keeps metrics: ``trainer.callback_metrics``."""
    trainer.callback_metrics.update({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics({**values, "epoch": epoch_of(trainer)}, step=logged_step(trainer))


def averages(trainer: L.Trainer) -> list[Any]:
    """Return the supernets that weight-averaging callbacks keep."""
    callbacks = [c for c in trainer.callbacks if isinstance(c, WeightAveraging)]  # type: ignore[attr-defined]
    return [c._average_model.module.supernet for c in callbacks if c._average_model is not None]
