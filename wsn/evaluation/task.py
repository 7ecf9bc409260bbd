"""Tasks: the unit of samples, the rows that a loss sees, and the quality of subnets."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from wsn.evaluation.quality import ACCURACY, BITS_PER_BYTE, MEAN_AP, Quality, know
from wsn.losses import counted, label_loss, two_classes_each

Rows = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """A task, held by a data module; a new one is one such object.

    Args:
        name: name of the task, for texts and tables.
        inputs: what its networks read: ``images`` or ``text``.
        quality: the measure of subnets: of the front, of pictures and of tables.
        rows: (logits, labels) → logits (N, K) and classes (N,), or probabilities (N, K), of which every loss is a mean.

    >>> import torch
    >>> MULTILABEL.rows(torch.zeros(2, 3), torch.ones(2, 3))[0].shape
    torch.Size([6, 2])
    """

    name: str
    inputs: str
    quality: Quality
    rows: Callable[[Tensor, Tensor], Rows] = counted

    def __post_init__(self) -> None:
        know(self.quality)

    @property
    def unit(self) -> str:
        """The unit that multiply-adds and batches count: an image, or a token."""
        return "token" if self.inputs == "text" else "image"

    def samples(self, inputs: Tensor) -> int:
        """Return how many images (B, C, H, W), or tokens (B, T), there are."""
        return inputs.numel() if self.inputs == "text" else len(inputs)

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the label loss, a mean over the rows."""
        return label_loss(*self.rows(logits, labels), label_smoothing)


CLASSIFICATION = Task("classification", "images", ACCURACY)
LANGUAGE = Task("language", "text", BITS_PER_BYTE)
MULTILABEL = Task("multilabel", "images", MEAN_AP, two_classes_each)
"""Several labels an image, each there or not: every label is a classification of its own, into no and yes."""


def task_of(inputs: str) -> Task:
    """Return the task that networks of these inputs have, where no data says another."""
    return LANGUAGE if inputs == "text" else CLASSIFICATION
