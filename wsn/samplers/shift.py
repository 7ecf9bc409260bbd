"""Probability shift: costs at which subnets still improve are sampled more often."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.balanced import BalancedSampler
from wsn.samplers.conditional import CostConditional


class ShiftSampler(BalancedSampler):
    r"""Move probability between cost bins by what evaluations tell: :math:`P(b) \propto P(b)\, e^{\eta \Delta_b}`.

    :math:`\Delta_b` is the change of the mean accuracy of the bin's evaluated subnets since the evaluation before, in
    percentage points: where it is large, training was insufficient. Needs regular evaluations
    (``evaluation.every_n_epochs=1``) with a panel.

    Args:
        *args: as for :class:`BalancedSampler`.
        rate: :math:`\eta`.
        floor: smallest probability of a bin, as a share of the equal one.
        **kwargs: as for :class:`BalancedSampler`.

    Source: ShiftNAS-style, after Zhang et al. 2023, arXiv:2304.04751; its code was not released. Differs: a table of
    choices by cost with rejection in place of the learned architecture generator.
    """

    def __init__(self, *args: Any, rate: float = 0.05, floor: float = 0.25, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not 0 < floor <= 1:
            raise WsnError(f"sampler.floor must be above 0 and at most 1. Received {floor}")
        self.rate = rate
        self.floor = floor
        self.weights = [1.0] * self.num_bins
        self.accuracy: dict[int, float] = {}

    def on_evaluated(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Shift probability towards the bins whose accuracy changed most."""
        table = self.table(self.full_space)
        by_bin: dict[int, list[float]] = {}
        for r in rows:
            by_bin.setdefault(table.bin(self.full_space.find(r["arch"])), []).append(100 * r["acc"])
        now = {b: sum(values) / len(values) for b, values in by_bin.items()}
        for b in now.keys() & self.accuracy.keys():
            self.weights[b] *= math.exp(self.rate * (now[b] - self.accuracy[b]))
        mean = sum(self.weights) / self.num_bins
        self.weights = [max(w / mean, self.floor) for w in self.weights]
        self.accuracy.update(now)

    def probabilities(self, table: CostConditional) -> list[float]:
        """Return the shifted probabilities of ``table.bins``."""
        weights = [self.weights[b] for b in table.bins]
        return [w / sum(weights) for w in weights]

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the bins and the accuracies that they were shifted by."""
        return {"weights": list(self.weights), "accuracy": dict(self.accuracy)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the weights and accuracies back."""
        self.weights, self.accuracy = list(state["weights"]), dict(state["accuracy"])
