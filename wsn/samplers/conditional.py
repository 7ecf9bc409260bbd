"""Drawing subnets of a wanted cost: a table of choice frequencies by cost bin, made from the space itself."""

from bisect import bisect_right
from random import Random

from wsn.cost_models.macs import cost
from wsn.errors import WsnError
from wsn.space import SearchSpace, Subnet
from wsn.supernet import Supernet


class CostConditional:
    """How often each choice occurs among subnets of a cost bin, and draws from that.

    Every position is taken as independent given the bin; draws of another bin are rejected.

    Args:
        net: the supernet whose costs count.
        space: the space to draw from, of ``net``.
        num_bins: bins of equal width between the smallest and the largest MACs.
        pool: subnets that the table is made from.
        seed: of the pool.
        uniform_pool: make it from uniform draws, as AttentiveNAS does, so that :attr:`prior` is the space's own
            distribution of costs; off: from draws biased towards every size, so that no bin is empty.
        tries: rejections before the draw closest to the bin is taken.

    Source: AttentiveNAS, Wang et al. 2021, arXiv:2011.09011, §4.1; released code ``attentive_nas_sampler.py``.
    """

    def __init__(
        self,
        net: Supernet,
        space: SearchSpace,
        num_bins: int = 12,
        pool: int = 3000,
        seed: int = 0,
        uniform_pool: bool = False,
        tries: int = 100,
    ):
        if num_bins < 1 or pool < num_bins:
            raise WsnError(f"sampler.num_bins must be at least 1 and sampler.pool as many. Received {num_bins}, {pool}")
        self.net = net
        self.space = space
        self.tries = tries
        low, high = cost(net, space.min()).macs, cost(net, space.max()).macs
        self.edges = [low + (high - low) * i / num_bins for i in range(1, num_bins)]
        rng = Random(seed)
        extremes = [space.min(), space.max()]
        drawn = [space.sample(rng, None if uniform_pool else rng.random()) for _ in range(pool)]
        members: dict[int, list[Subnet]] = {}
        for subnet in drawn if uniform_pool else extremes + drawn:
            members.setdefault(self.bin(subnet), []).append(subnet)
        self.bins = sorted(members)
        self.prior = [len(members[b]) / len(drawn) for b in self.bins]
        self._members = members
        self._tables: dict[int, dict[str, list[tuple[list, list[int]]]]] = {}

    def bin(self, subnet: Subnet) -> int:
        """Return the cost bin of a subnet."""
        return bisect_right(self.edges, cost(self.net, subnet).macs)

    def draw(self, rng: Random, wanted: int) -> Subnet:
        """Draw a subnet of bin ``wanted``, one of :attr:`bins`."""
        table = self._table(wanted)
        nearest: tuple[int, Subnet] | None = None
        for _ in range(self.tries):
            values = {n: [rng.choices(c, w)[0] for c, w in positions] for n, positions in table.items()}
            subnet = self.space.subnet(**values)
            distance = abs(self.bin(subnet) - wanted)
            if nearest is None or distance < nearest[0]:
                nearest = (distance, subnet)
            if distance == 0:
                break
        assert nearest is not None
        return nearest[1]

    def _table(self, wanted: int) -> dict[str, list[tuple[list, list[int]]]]:
        """Count the choices of every position over the bin's members; coupled dimensions follow by themselves."""
        if wanted not in self._tables:
            members = self._members[wanted]
            table = {}
            for name, dim in self.space.dimensions.items():
                if name in self.space.followers:
                    continue
                values = [s[name] if dim.scope != "network" else (s[name],) for s in members]
                table[name] = [
                    (list(choices), _counts(choices, [v[p] for v in values])) for p, choices in enumerate(dim.choices)
                ]
            self._tables[wanted] = table
        return self._tables[wanted]


def _counts(choices: tuple, values: list) -> list[int]:
    """Count each choice; all are equal where no member has the position (its block is skipped)."""
    counts = [values.count(c) for c in choices]
    return counts if any(counts) else [1] * len(choices)
