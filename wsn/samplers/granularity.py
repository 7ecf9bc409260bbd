"""MatFormer's granularities: the same share of every FFN, all else the largest."""

from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet

FFNS = ("ffn", "mlp_ratio", "expand")
"""The dimension of a block's middle layer, in language models, vision transformers and CNNs."""


class GranularitySampler(Sampler):
    """Train one random granularity of a step, or all of them from the largest down.

    A granularity is the i-th choice of a dimension in every layer; all other dimensions take their largest choice.

    Args:
        *args: as for :class:`Sampler`; the one role is given to all.
        sampling: ``one_uniform`` as the paper describes, or ``all`` as the released OLMo code does.
        dimension: which one has the granularities; None: that of the FFNs, see :data:`FFNS`.
        **kwargs: as for :class:`Sampler`.

    Source: MatFormer, Kudugunta et al. 2023, arXiv:2310.07707, §3.2; released code MatFormer-OLMo (``train.py``).
    """

    def __init__(self, *args: Any, sampling: str = "one_uniform", dimension: str | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if sampling not in ("one_uniform", "all"):
            raise WsnError(f"sampler.sampling must be one_uniform or all. Received {sampling!r}")
        names = [dimension] if dimension else FFNS
        found = [name for name in names if name in self.full_space.dimensions]
        if not found:
            raise WsnError(
                f"sampler.dimension: this space has no {' or '.join(names)}; it has "
                f"{listed(self.full_space.dimensions)}. Set sampler.dimension to the one that has the granularities"
            )
        self.sampling = sampling
        self.dimension = found[0]

    def granularities(self, space: SearchSpace) -> list[Subnet]:
        """Return the subnets of all granularities, the largest first."""
        choices = space.dimensions[self.dimension].choices
        levels = max(len(c) for c in choices)
        values = [[c[min(level, len(c) - 1)] for c in choices] for level in reversed(range(levels))]
        return [space.subnet(**{self.dimension: value if len(choices) > 1 else value[0]}) for value in values]

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the step's subnets."""
        if self.sampling == "all":
            return [Draw(s, self.roles[0]) for s in self.granularities(self.space_of(step))]
        return super().sample(step, micro_batch, score)

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return one granularity, uniformly."""
        return rng.choice(self.granularities(space))
