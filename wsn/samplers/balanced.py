"""Sampling balanced by cost: small and large subnets as often as middle ones."""

from random import Random
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Sampler, SubnetScore
from wsn.samplers.conditional import CostConditional
from wsn.space import SearchSpace, Subnet
from wsn.supernet import Supernet


class BalancedSampler(Sampler):
    """Draw a cost bin by its probability (all equal), then a subnet of that cost.

    Uniform choices concentrate on middle costs: of OFA's space less than one draw in a million comes near either end.

    Args:
        *args: as for :class:`Sampler`.
        num_bins: bins of equal width between the smallest and the largest MACs.
        pool: subnets that the table of choices by cost is made from.
        **kwargs: as for :class:`Sampler`.
    """

    uniform_pool = False

    def __init__(self, *args: Any, num_bins: int = 12, pool: int = 3000, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.num_bins = num_bins
        self.pool = pool
        self.net: Supernet | None = None
        self._tables: dict[tuple, CostConditional] = {}

    def attach(self, net: Supernet) -> None:
        """Take the supernet whose costs count."""
        self.net = net

    def table(self, space: SearchSpace) -> CostConditional:
        """Return the table for a space, made once."""
        if self.net is None:
            raise WsnError(f"{type(self).__name__} needs costs: call attach(supernet) before the first sample")
        key = tuple(d.choices for d in space.dimensions.values())
        if key not in self._tables:
            self._tables[key] = CostConditional(
                self.net, space, self.num_bins, self.pool, seed=self.seed, uniform_pool=self.uniform_pool
            )
        return self._tables[key]

    def probabilities(self, table: CostConditional) -> list[float]:
        """Return the probability of each of ``table.bins``."""
        return [1 / len(table.bins)] * len(table.bins)

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a subnet of a drawn cost."""
        table = self.table(space)
        return table.draw(rng, rng.choices(table.bins, self.probabilities(table))[0])
