"""Phases of training, and the learning rate as a pure function of the optimizer step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsn.errors import WsnError

Curve = Callable[[float], float]
"""Share of the peak learning rate at a progress in [0, 1]."""


@dataclass(frozen=True)
class Phase:
    """One phase of training: which subnets are sampled, for how long, at which learning rate.

    Args:
        name: shown in logs and tables.
        epochs: length after warm-up.
        warmup_epochs: linear warm-up before it, in epochs.
        lr: peak learning rate; None takes the optimizer's.
        num_subnets: subnets per optimizer step; None leaves the sampler's.
        choices: dimension → candidate choices, or ``"top1"``, ``"top2"`` ... for the largest ones;
            dimensions left out have all of theirs.
        role: role given to the sampled subnets; None leaves the sampler's.
        order_channels: sort channels by importance before the phase, within the bands of the widths that the
            phase before trained.
        fresh_optimizer: forget momentum at the start.
    """

    name: str
    epochs: int
    warmup_epochs: int = 0
    lr: float | None = None
    num_subnets: int | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)
    role: str | None = None
    order_channels: bool = False
    fresh_optimizer: bool = True

    def __post_init__(self):
        if self.epochs < 1 or self.warmup_epochs < 0:
            raise WsnError(
                f"Phase {self.name!r}: epochs must be at least 1 and warmup_epochs at least 0. "
                f"Received epochs={self.epochs}, warmup_epochs={self.warmup_epochs}"
            )

    @property
    def length(self) -> int:
        """Epochs with warm-up."""
        return self.epochs + self.warmup_epochs


def total_epochs(phases: Sequence[Phase]) -> int:
    """Return the length of all phases in epochs."""
    return sum(phase.length for phase in phases)


def phase_at(phases: Sequence[Phase], epoch: float) -> tuple[int, float]:
    """Return which phase an epoch (or a fraction of one) is in, and the epochs done of that phase.

    >>> phase_at([Phase("a", 2), Phase("b", 3)], 2.5)
    (1, 0.5)
    """
    start = 0
    for index, phase in enumerate(phases):
        if epoch < start + phase.length or index == len(phases) - 1:
            return index, epoch - start
        start += phase.length
    raise WsnError("A method needs at least one phase; see conf/method")


def learning_rate(phases: Sequence[Phase], curve: Curve, epoch: float, default_lr: float, warmup_from: float) -> float:
    """Return the learning rate after ``epoch`` epochs (fractions count).

    Args:
        phases: the phases; each restarts the curve.
        curve: share of the peak by progress in the phase after warm-up.
        epoch: epochs done since the start of training.
        default_lr: the peak where a phase has none.
        warmup_from: share of the peak at which warm-up starts.
    """
    index, done = phase_at(phases, epoch)
    phase = phases[index]
    peak = default_lr if phase.lr is None else phase.lr
    if done < phase.warmup_epochs:
        return peak * (warmup_from + (1 - warmup_from) * done / phase.warmup_epochs)
    return peak * curve(min((done - phase.warmup_epochs) / phase.epochs, 1.0))


def cosine(progress: float, final: float = 0.0) -> float:
    """Half a cosine from 1 to ``final``.

    >>> cosine(0.0), cosine(0.5), cosine(1.0)
    (1.0, 0.5, 0.0)
    """
    return final + (1 - final) * round(0.5 * (1 + math.cos(math.pi * progress)), 15)


def constant(progress: float) -> float:
    """Return 1, always."""
    return 1.0


def linear(progress: float, final: float = 0.0) -> float:
    """Return a straight line from 1 to ``final``."""
    return 1 - (1 - final) * progress
