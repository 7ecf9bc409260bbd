"""Resource-balanced sampling: the mean of a dimension's choices goes from the largest to the smallest and back."""

from random import Random
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class ResourceBalancedSampler(Sampler):
    """Draw the bit-widths of all layers so that their mean is the step's of a triangular schedule.

    The mean goes b₁ + (b_N − b₁) · |2t/SL − 1| with step t: over a period SL every mean is as frequent, where that of
    independent uniform choices concentrates, the more the more layers there are. Which layers have more bits is random:
    of the steps up from the smallest choice that the layers could take together, the share that the schedule says is
    drawn without repetition. Other dimensions are uniform.

    Args:
        *args: as for :class:`Sampler`.
        dimension: of which the mean is scheduled; one for each block, or stage.
        period: SL, in optimizer steps.
        **kwargs: as for :class:`Sampler`.

    Raises:
        WsnError: a space without this dimension, or a period below 2.

    Source: LLM-QFA, Yi et al. 2024, arXiv:2405.20202, §3.3. The paper leaves open how layers share the mean. Of choices
    that are not equally far apart (2, 4, 8 bits) the mean position among the choices follows the schedule.
    """

    def __init__(self, *args: Any, dimension: str = "bits", period: int = 8000, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if dimension not in self.full_space.dimensions:
            raise WsnError(
                f"sampler=resource_balanced schedules {dimension}, which this space lacks (method=llm_qfa has bits); "
                f"set sampler.dimension to one of:\n{self.full_space.describe()}"
            )
        if period < 2:
            raise WsnError(f"sampler.period must be at least 2 steps. Received {period}")
        self.dimension = dimension
        self.period = period
        self._share = 1.0

    def share(self, step: int) -> float:
        """Return the place of the mean between the smallest (0) and the largest choice (1)."""
        return abs(2 * (step % self.period) / self.period - 1)

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the subnets of a step, whose random ones have the step's mean."""
        self._share = self.share(step)
        return super().sample(step, micro_batch, score)

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a subnet of the step's mean."""
        choices = space.dimensions[self.dimension].choices
        steps_up = [at for at, values in enumerate(choices) for _ in values[1:]]
        taken = rng.sample(steps_up, round(self._share * len(steps_up)))
        drawn = [values[taken.count(at)] for at, values in enumerate(choices)]
        others = {n: v for n, v in space.sample(rng).items() if n not in space.followers}
        return space.subnet(**{**others, self.dimension: drawn})
