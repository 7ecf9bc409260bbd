"""Phases of training, what each role learns from, and the learning rate as a pure function of the step."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from wsn.errors import WsnError, listed
from wsn.space.kinds import KINDS, choices_by_name, of_kind
from wsn.space.search_space import SearchSpace

Curve = Callable[[float], float]
"""Share of the peak learning rate at a progress in [0, 1]."""


IMPORTANCE = ("l1", "l2", "taylor", "wanda", "flap", "minitron", "uniql")
"""How channels can be sorted by importance, see :mod:`wsn.importance`."""


@dataclass
class RoleLoss:
    """The loss of the subnets of one role.

    Args:
        labels: weight of the label loss.
        distill: weight of the distillation loss.
        target: whose logits it distils from: ``teacher`` (frozen, external), or a role that runs earlier
            in the step (``max``: in-place distillation).
        dropout: whether dropout and stochastic depth are on.
        weight: weight of the subnet's gradient in the step.
        balance: a role that runs earlier in the step, whose loss's magnitude this one's is scaled to (AmoebaLLM, Fu et
            al. 2024, arXiv:2411.10606, §3.3; a detached ratio, as in its released code).

    Raises:
        WsnError: distillation without a target.
    """

    labels: float = 1.0
    distill: float = 0.0
    target: str | None = None
    dropout: bool = True
    weight: float = 1.0
    balance: str | None = None

    def __post_init__(self) -> None:
        if self.distill and not self.target:
            raise WsnError("A role that distils needs a target: teacher or max. Received distill without target")


@dataclass
class Phase:
    """One phase of training: which subnets are sampled, for how long, at which learning rate.

    A method's phases are a mapping; the name of a phase, shown in logs and tables, is its key.

    Args:
        epochs: length after warm-up.
        warmup_epochs: linear warm-up before it, in epochs.
        lr_scale: peak learning rate, as a multiple of ``optim.lr``.
        roles: of the subnets of an optimizer step, in order. See :class:`wsn.samplers.base.Sampler`.
        choices: dimension → candidate choices, or ``"top1"``, ``"top2"`` ... for the largest ones; dimensions that are
            left out, or null, have all of theirs. A kind, see :data:`wsn.space.kinds.KINDS`, stands for all of its
            dimensions that the space has: ``widths: top1``.
        shrinks: the kind of dimensions that the phase makes elastic: ``kernels``, ``depths`` or ``widths``. In a space
            without a choice of that kind the phase is left out.
        order_channels: sort channels by importance before the phase, within the bands of the widths that the
            phase before trained: true or ``l1`` (OFA), ``l2``, ``taylor``, ``wanda``, ``flap``, ``minitron``,
            ``uniql``, see :mod:`wsn.importance`.
        fresh_optimizer: forget momentum at the start.
        continue_lr: go on along the learning rate curve of the phase before, which then spans both.

    Raises:
        WsnError: no epoch, no role, an unknown importance, or a warm-up in the middle of a curve.
    """

    epochs: int = 1
    warmup_epochs: int = 0
    lr_scale: float = 1.0
    roles: list[str] = field(default_factory=lambda: ["random"])
    choices: dict[str, Any] = field(default_factory=dict)
    shrinks: str | None = None
    order_channels: Any = False  # bool | str, of which OmegaConf 2.3 cannot merge a mapping
    fresh_optimizer: bool = True
    continue_lr: bool = False

    name = ""  # of the mapping; no field

    def __post_init__(self) -> None:
        self.choices = {name: wanted for name, wanted in self.choices.items() if wanted is not None}
        if self.epochs < 1 or self.warmup_epochs < 0:
            raise WsnError(
                f"Phase {self.name!r}: epochs must be at least 1 and warmup_epochs at least 0. "
                f"Received epochs={self.epochs}, warmup_epochs={self.warmup_epochs}"
            )
        if isinstance(self.roles, str) or not self.roles or not all(isinstance(role, str) for role in self.roles):
            raise WsnError(
                f"Phase {self.name!r}: roles must be a list of at least one role, e.g. [max,random,random,min]. "
                f"Received {self.roles!r}"
            )
        if self.shrinks is not None and self.shrinks not in KINDS:
            raise WsnError(
                f"Phase {self.name!r}: shrinks must be null or one of {listed(KINDS)}. Received {self.shrinks!r}"
            )
        if not isinstance(self.order_channels, bool) and self.order_channels not in IMPORTANCE:
            raise WsnError(
                f"Phase {self.name!r}: order_channels must be true, false or one of {listed(IMPORTANCE)}. "
                f"Received {self.order_channels!r}"
            )
        if self.continue_lr and self.warmup_epochs:
            raise WsnError(f"Phase {self.name!r} goes on along a curve (continue_lr): it has no warm-up of its own")

    @property
    def length(self) -> int:
        """Epochs with warm-up."""
        return self.epochs + self.warmup_epochs


def phases_of(phases: Mapping[str, Phase | Mapping[str, Any] | None]) -> list[Phase]:
    """Return the phases of a mapping in order, each knowing its name; null ones are left out.

    >>> [(phase.name, phase.epochs) for phase in phases_of({"full": {"epochs": 3}, "kernel": None})]
    [('full', 3)]
    """
    found = []
    for name, given in phases.items():
        if given is None:
            continue
        phase = copy.copy(given) if isinstance(given, Phase) else _named(name, given)
        phase.name = name
        found.append(phase)
    return found


def _named(name: str, values: Mapping[str, Any]) -> Phase:
    """Make a phase whose errors say its name."""
    try:
        return Phase(**values)
    except WsnError as error:
        raise WsnError(str(error).replace("Phase ''", f"Phase {name!r}", 1)) from None


def phases_for(phases: Sequence[Phase], space: SearchSpace) -> tuple[list[Phase], list[Phase]]:
    """Return the phases that there are in a space, with the names of its dimensions, and those that are left out.

    >>> from wsn.space import Dimension
    >>> phases = phases_of({"full": {"choices": {"widths": "top1"}}, "kernel": {"shrinks": "kernels"}, "width": {}})
    >>> kept, left_out = phases_for(phases, SearchSpace([Dimension("width", [0.5, 1])]))
    >>> [(phase.name, phase.choices) for phase in kept], [phase.name for phase in left_out]
    ([('full', {'width': 'top1'}), ('width', {})], ['kernel'])
    """
    kept, left_out = [], []
    for phase in phases:
        if phase.shrinks and not of_kind(space, phase.shrinks):
            left_out.append(phase)
            continue
        fitted = copy.copy(phase)
        fitted.choices = choices_by_name(space, phase.choices)
        kept.append(fitted)
    return kept, left_out


def total_epochs(phases: Sequence[Phase]) -> int:
    """Return the length of all phases in epochs."""
    return sum(phase.length for phase in phases)


def phase_at(phases: Sequence[Phase], epoch: float) -> tuple[int, float]:
    """Return which phase an epoch (or a fraction of one) is in, and the epochs done of that phase.

    >>> phase_at([Phase(2), Phase(3)], 2.5)
    (1, 0.5)
    """
    start = 0
    for index, phase in enumerate(phases):
        if epoch < start + phase.length or index == len(phases) - 1:
            return index, epoch - start
        start += phase.length
    raise WsnError("A method needs at least one phase; see conf/method")


def learning_rate(phases: Sequence[Phase], curve: Curve, epoch: float, base: float, warmup_from: float) -> float:
    """Return the learning rate after ``epoch`` epochs (fractions count).

    Args:
        phases: the phases; each restarts the curve, unless it says ``continue_lr``.
        curve: share of the peak by progress in the phase after warm-up.
        epoch: epochs done since the start of training.
        base: what each phase's ``lr_scale`` is a multiple of.
        warmup_from: share of the peak at which warm-up starts.
    """
    index, done = phase_at(phases, epoch)
    peak = base * phases[index].lr_scale
    while phases[index].continue_lr and index > 0:
        index -= 1
        done += phases[index].length
    phase = phases[index]
    if done < phase.warmup_epochs:
        return peak * (warmup_from + (1 - warmup_from) * done / phase.warmup_epochs)
    length = phase.epochs + sum(p.length for p in takewhile(lambda p: p.continue_lr, phases[index + 1 :]))
    return peak * curve(min((done - phase.warmup_epochs) / length, 1.0))


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


def exponential(progress: float, floor: float = 0.05, floor_at: float = 0.6557) -> float:
    """Return an exponential decay that reaches ``floor`` at progress ``floor_at`` and stays there.

    BigNAS's "exponentially decaying with constant ending" (Yu et al. 2020, arXiv:2003.11142, §3.1): 0.97 every 2.4
    epochs, not below 5 %, is reached at epoch 2.4 · ln 0.05 / ln 0.97 = 236 of 360, a share of 0.6557.

    >>> exponential(0.0), exponential(0.6557), exponential(1.0)
    (1.0, 0.05, 0.05)
    """
    return max(floor, floor ** (progress / floor_at))


def step(progress: float, at: Sequence[float] = (0.3, 0.6, 0.9), factor: float = 0.1) -> float:
    """Return 1, times ``factor`` for each of ``at`` that is reached.

    >>> [round(step(p), 3) for p in (0.0, 0.3, 0.95)]
    [1.0, 0.1, 0.001]
    """
    return factor ** sum(progress >= p for p in at)
