"""Losses on logits, functional; every one is a mean over the batch."""

import torch.nn.functional as F
from torch import Tensor


def label_loss(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with labels, hard or mixed.

    Args:
        logits: (B, K).
        target: (B,) int64 classes, or (B, K) probabilities as mixup makes them.
        label_smoothing: share of the target spread evenly over the classes.
    """
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Cross-entropy of the student against the teacher's probabilities, times the temperature squared.

    .. math:: -T^2 \sum_c \mathrm{softmax}(t/T)_c \log \mathrm{softmax}(z/T)_c

    Args:
        student: logits (B, K).
        teacher: logits (B, K); no gradient flows into them.
        temperature: T; the factor T² keeps the gradient's size (Hinton et al. 2015, arXiv:1503.02531, §2).

    >>> import torch
    >>> z = torch.zeros(1, 2)
    >>> round(soft_cross_entropy(z, z).item(), 4)
    0.6931
    """
    probabilities = F.softmax(teacher.detach() / temperature, dim=-1)
    return F.cross_entropy(student / temperature, probabilities) * temperature**2


def logits_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error between logits (B, K): OFA's other distillation loss (``kd_type: mse``)."""
    return F.mse_loss(student, teacher.detach())
