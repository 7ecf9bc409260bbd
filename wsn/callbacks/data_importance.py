"""The data half of PA&DA: images with larger gradients are drawn more often."""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from wsn.callbacks.common import SupernetCallback
from wsn.errors import WsnError
from wsn.losses import IGNORED
from wsn.supernet.precision import full_precision


def gradient_sizes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the norm of the loss's gradient at the logits for each example (B,); the mean of those of its parts.

    Args:
        logits: (B, K) of images; of texts (N, V), of the positions that count; (B · L, 2) of L labels an image.
        labels: (B,) classes, (B, K) probabilities, (B, T) tokens with :data:`IGNORED` at padding, or (B, L) labels.
    """
    if labels.ndim == 2 and labels.shape != logits.shape:
        counts = labels != IGNORED
        wanted = labels[counts]
        target = (
            torch.stack([1 - wanted, wanted], 1) if wanted.is_floating_point() else F.one_hot(wanted, logits.shape[1])
        )
        parts = (logits.softmax(-1) - target).norm(dim=-1)
        owners = counts.nonzero()[:, 0]
        sums = parts.new_zeros(len(labels)).index_add_(0, owners, parts)
        return sums / counts.sum(1).clamp(min=1)
    target = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[-1])
    return (logits.softmax(-1) - target).norm(dim=-1)


class DataImportance(SupernetCallback):
    r"""Draw the images of each epoch with replacement, by the size of their gradients in the epoch before.

    An image's score is :math:`\lVert \mathrm{softmax}(z) - \mathrm{onehot}(y) \rVert_2`, the gradient at the logits of
    the step's first subnet, averaged over its occurrences (and, of a text, over its tokens; of several labels, over
    them). Then :math:`P = \tau d / \sum d + (1 - \tau) / N`, with :math:`\tau` growing from 0 by epoch / epochs. Images
    that an epoch left out score 0.

    Args:
        tau: the value that :math:`\tau` grows to.

    Source: PA&DA, Lu et al. 2023, arXiv:2302.14772, §3.3; released code.
    """

    def __init__(self, tau: float = 1.0):
        if not 0 <= tau <= 1:
            raise WsnError(f"method.callbacks.data_importance.tau must be from 0 to 1. Received {tau}")
        self.tau = tau
        self.sums = torch.zeros(0)
        self.counts = torch.zeros(0)
        self.weights: Tensor | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make room for the scores; after a resume, put the weights back where the loader reads them."""
        data = self.data_of(trainer)
        if len(self.sums) != data.train_size:
            self.sums, self.counts = torch.zeros(data.train_size), torch.zeros(data.train_size)
        data.importance = self.weights

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score the images of this batch, of all processes."""
        data = self.data_of(trainer)
        scores = gradient_sizes(full_precision(outputs["logits"]), batch[1])
        indices = torch.tensor(data.order.batch(trainer.current_epoch, batch_idx), device=scores.device)
        gathered: Any = pl_module.all_gather({"scores": scores, "indices": indices})
        scores, indices = gathered["scores"].flatten().to("cpu", self.sums.dtype), gathered["indices"].flatten().cpu()
        self.sums.index_add_(0, indices, scores)
        self.counts.index_add_(0, indices, torch.ones_like(scores))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Turn the scores into the probabilities of the next epoch."""
        tau = self.tau * (trainer.current_epoch + 1) / (trainer.max_epochs or 1)
        scores = self.sums / self.counts.clamp(min=1)
        if tau > 0 and scores.sum() > 0:
            self.weights = tau * scores / scores.sum() + (1 - tau) / len(scores)
        self.sums.zero_()
        self.counts.zero_()
        self.data_of(trainer).importance = self.weights

    def state_dict(self) -> dict[str, Any]:
        """Return the scores so far and the probabilities of this epoch."""
        return {"sums": self.sums, "counts": self.counts, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.sums, self.counts = state_dict["sums"].clone(), state_dict["counts"].clone()
        self.weights = state_dict["weights"]
