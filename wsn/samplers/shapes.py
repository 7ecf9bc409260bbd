"""AmoebaLLM's shapes: numbers of layers drawn independently, widths without repetition."""

from random import Random
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import SearchSpace, Subnet


class ShapeSampler(Sampler):
    """Draw a depth and a width for each random subnet; each micro-batch has shapes of its own.

    Depths are uniform over all but the largest, which only the largest subnet has; widths are uniform over all of them,
    no two random subnets of a micro-batch have the same.

    Args:
        *args: as for :class:`Sampler`; the space has a ``depth`` and a ``width`` of the whole network, see
            :func:`wsn.backbones.transformer.shape_space`.
        **kwargs: as for :class:`Sampler`.

    Raises:
        WsnError: a space of other dimensions, or more random subnets than widths.

    Source: AmoebaLLM, Fu et al. 2024, arXiv:2411.10606, §3.3; released code (``trainer.py``, ``training_step``), whose
    upper bound of the depth is exclusive.
    """

    per_micro_batch = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        free = {n for n, d in self.full_space.dimensions.items() if d.scope == "network"}
        if not {"depth", "width"} <= free:
            raise WsnError(
                f"sampler=shapes draws a depth and a width of the whole network (method=amoeba). This space has:\n"
                f"{self.full_space.describe()}"
            )

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the shapes of one micro-batch."""
        space, widths = self.space_of(step), self._widths(step, micro_batch)
        draws = []
        for slot, role in enumerate(self.roles, start=micro_batch * len(self.roles)):
            if role in ("max", "min"):
                subnet = space.max() if role == "max" else space.min()
            else:
                subnet = space.subnet(depth=_depth(self.rng(step, slot), space), width=widths.pop())
            draws.append(Draw(subnet, role))
        return draws

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return one shape."""
        return space.subnet(depth=_depth(rng, space), width=rng.choice(space.dimensions["width"].choices[0]))

    def _widths(self, step: int, micro_batch: int) -> list[Any]:
        """Return a width for each random subnet of a micro-batch."""
        choices = self.space.dimensions["width"].choices[0]
        wanted = sum(role not in ("max", "min") for role in self.roles)
        if wanted > len(choices):
            raise WsnError(f"sampler=shapes: {wanted} random subnets need as many widths. Received {list(choices)}")
        return self.rng(step, -2 - micro_batch).sample(choices, wanted)


def _depth(rng: Random, space: SearchSpace) -> Any:
    choices = space.dimensions["depth"].choices[0]
    return rng.choice(choices[:-1] or choices)
