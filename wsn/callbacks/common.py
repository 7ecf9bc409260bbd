"""What wsn's callbacks ask the Trainer."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging


def hooks(trainer: L.Trainer, name: str) -> Iterable[Callable]:
    """Return that method of every callback that has it: how wsn's callbacks hear of each other."""
    return [getattr(c, name) for c in trainer.callbacks if hasattr(c, name)]  # type: ignore[attr-defined]


def logged_step(trainer: L.Trainer) -> int:
    """Return the step that Lightning logs under: batches trained so far."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def averages(trainer: L.Trainer) -> list[Any]:
    """Return the supernets that weight-averaging callbacks keep."""
    callbacks = [c for c in trainer.callbacks if isinstance(c, WeightAveraging)]  # type: ignore[attr-defined]
    return [c._average_model.module.supernet for c in callbacks if c._average_model is not None]
