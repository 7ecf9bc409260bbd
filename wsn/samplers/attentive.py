"""Attentive sampling: train the best or the worst of a few candidates of a drawn cost."""

from random import Random
from typing import Any, Literal

from wsn.errors import WsnError
from wsn.samplers.balanced import BalancedSampler
from wsn.samplers.base import SubnetScore
from wsn.samplers.conditional import CostConditional
from wsn.space import SearchSpace, Subnet


class AttentiveSampler(BalancedSampler):
    """Draw a cost from the space's own distribution, candidates of that cost, and train one of them.

    BestUp trains the candidate with the lowest label loss on the batch, so that the best subnets get better; WorstUp
    the one with the highest, so that the worst do.

    Args:
        *args: as for :class:`BalancedSampler`.
        pick: ``best`` or ``worst``.
        candidates: k, subnets scored for each one trained.
        **kwargs: as for :class:`BalancedSampler`; bins here are of equal width, 25 MMACs in the released code.

    Source: AttentiveNAS, Wang et al. 2021, arXiv:2011.09011, §4; released code ``train_attentive_nas.py`` (k = 3,
    scores are losses on the current mini-batch).
    """

    uniform_pool = True

    def __init__(self, *args: Any, pick: Literal["best", "worst"] = "best", candidates: int = 3, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if pick not in ("best", "worst"):
            raise WsnError(f"sampler.pick must be best or worst. Received {pick!r}")
        if candidates < 1:
            raise WsnError(f"sampler.candidates must be at least 1. Received {candidates}")
        self.pick = pick
        self.candidates = candidates

    def probabilities(self, table: CostConditional) -> list[float]:
        """Return the space's own distribution over costs."""
        return table.prior

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return the best or worst candidate; the first one where nothing can score them."""
        table = self.table(space)
        wanted = rng.choices(table.bins, self.probabilities(table))[0]
        drawn = [table.draw(rng, wanted) for _ in range(self.candidates)]
        if score is None:
            return drawn[0]
        return min(drawn, key=score) if self.pick == "best" else max(drawn, key=score)
