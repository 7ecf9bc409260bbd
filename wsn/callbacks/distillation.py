"""Distillation losses that a callback puts into a method."""

from typing import Any

import lightning as L
from torch import Tensor

from wsn.callbacks.common import SupernetCallback
from wsn.losses import adaptive_alpha_divergence


class AlphaDivergence(SupernetCallback):
    """Distil by AlphaNet's adaptive alpha-divergence, in whatever way the method distils.

    The mean divergence of each step is logged as ``train/alpha_divergence``.

    Args:
        alpha_min: see :func:`wsn.losses.adaptive_alpha_divergence`.
        alpha_max: see there.
        clip: see there.

    Source: AlphaNet, Wang et al. 2021, arXiv:2102.07954.
    """

    def __init__(self, alpha_min: float = -1.0, alpha_max: float = 1.0, clip: float | None = 5.0):
        self.alpha_min = alpha_min
        self.alpha_max = alpha_max
        self.clip = clip
        self._values: list[Tensor] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the place of the method's distillation loss."""
        module = self.module_of(pl_module)
        module.method.distillation = self.loss

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the divergence of student from teacher logits (B, K)."""
        value = adaptive_alpha_divergence(student, teacher, self.alpha_min, self.alpha_max, self.clip)
        self._values.append(value.detach())
        return value

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Log the step's mean."""
        if self._values:
            pl_module.log("train/alpha_divergence", sum(self._values) / len(self._values))
            self._values = []
