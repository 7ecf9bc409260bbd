"""Equal compute for all methods: how many images an epoch may have."""

from collections.abc import Iterator

from wsn.cost_models.macs import cost
from wsn.errors import WsnError
from wsn.methods.base import Method
from wsn.samplers.base import Sampler
from wsn.schedule import total_epochs
from wsn.space import Subnet
from wsn.supernet import Supernet


def images_for(gmacs: float, method: Method, net: Supernet, sampler: Sampler, accumulate: int, largest: int) -> int:
    """Return the images per epoch for which training takes about this much compute.

    Forward and backward of all subnets, the teacher's forward and scoring of candidates count; evaluation does not.
    What a run has spent is logged as ``train/gmacs_spent``.

    Args:
        gmacs: billions of multiply-adds.
        method: its phases keep their lengths in epochs.
        net: the supernet.
        sampler: of the run's kind; it is drawn from, so pass one that is not used otherwise.
        accumulate: batches per optimizer step.
        largest: images of the training set.

    Raises:
        WsnError: fewer images than one per epoch, or more than there are.
    """
    per_epoch = list(_macs_per_image(method, net, sampler, accumulate))
    images = round(gmacs * 1e9 / sum(macs * phase.length for macs, phase in zip(per_epoch, method.phases)))
    if not 1 <= images <= largest:
        raise WsnError(
            f"budget_gmacs={gmacs} is {images} images in each of {total_epochs(method.phases)} epochs, of a training "
            f"set of {largest}. Change method.phases.*.epochs or the budget"
        )
    return images


def _macs_per_image(
    method: Method, net: Supernet, sampler: Sampler, accumulate: int, steps: int = 40
) -> Iterator[float]:
    """Yield the mean multiply-adds for one image in each phase."""
    for index, phase in enumerate(method.phases):
        sampler.enter(phase)
        scored: list[int] = []

        def score(subnet: Subnet, scored: list[int] = scored) -> float:
            scored.append(cost(net, subnet).macs)
            return 0.0

        trained = [
            method.macs(net, sampler.sample(step, micro_batch, score), teacher=index > 0)
            for step in range(steps)
            for micro_batch in range(accumulate)
        ]
        yield (sum(trained) + sum(scored)) / len(trained)
