"""How logits become shares of the choices while a router is trained."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsn.errors import WsnError
from wsn.routers.choices import Choices, Key, Weights
from wsn.supernet.precision import full_precision


class Gumbel:
    """Gumbel-softmax whose temperature falls and whose logits' scale grows, by the progress of training.

    Args:
        temperature: at the start and at the end, geometrically between.
        scale: of the logits at the start and at the end, linearly between.
        hard: share of the passes whose choices are one-hot, with the soft shares' gradient (straight-through).

    Raises:
        WsnError: a temperature or scale that is not positive, or a share outside [0, 1].

    Source: Jang et al. 2017, arXiv:1611.01144; the schedules, Nemotron-Elastic, Taghibakhshi et al. 2025,
    arXiv:2511.16664, and the released code of Megatron-LM (temperature times 0.9999 each iteration, hard = 0.004).
    Differs: the schedules end with training, whatever its length.

    >>> gumbel = Gumbel(temperature=[1.0, 0.01], scale=[1.0, 10.0])
    >>> gumbel.progress = 0.5
    >>> round(gumbel.now_temperature, 6), gumbel.now_scale
    (0.1, 5.5)
    """

    def __init__(self, temperature: Sequence[float] = (1.0, 0.05), scale: Sequence[float] = (1, 10), hard: float = 1.0):
        for name, pair in (("temperature", temperature), ("scale", scale)):
            if len(pair) != 2 or min(pair) <= 0:
                raise WsnError(f"method.gumbel.{name} must be two positive numbers, start and end. Received {pair}")
        if not 0 <= hard <= 1:
            raise WsnError(f"method.gumbel.hard must be a share in [0, 1]. Received {hard}")
        self.temperature = tuple(temperature)
        self.scale = tuple(scale)
        self.hard = hard
        self.progress = 0.0

    @property
    def now_temperature(self) -> float:
        """Temperature at this progress."""
        start, end = self.temperature
        return start * (end / start) ** self.progress

    @property
    def now_scale(self) -> float:
        """Scale of the logits at this progress."""
        start, end = self.scale
        return start + (end - start) * self.progress

    def draw_hard(self) -> bool:
        """Draw whether the choices of this pass are one-hot."""
        return torch.rand(()).item() < self.hard

    def soft(self, logits: Tensor, **options: Any) -> Tensor:
        """Return drawn shares of logits (..., K)."""
        return F.gumbel_softmax(full_precision(logits) * self.now_scale, tau=self.now_temperature, **options)

    def weights(self, choices: Choices, logits: dict[Key, Tensor]) -> Weights:
        """Return drawn shares of all choices, together a subnet where they are hard."""
        weights = {key: self.soft(value) for key, value in logits.items()}
        return choices.harden(weights) if self.draw_hard() else weights

    def expected(self, logits: dict[Key, Tensor]) -> Weights:
        """Return the shares without noise: soft at the start, all but one-hot at the end."""
        sharpness = self.now_scale / self.now_temperature
        return {key: (full_precision(value) * sharpness).softmax(-1) for key, value in logits.items()}
