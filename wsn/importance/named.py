"""Importance by the name that configs give it."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from wsn.errors import WsnError, listed
from wsn.importance import ChannelScore, flap, magnitude, minitron, taylor, uniql, wanda
from wsn.schedule import IMPORTANCE
from wsn.supernet import Supernet
from wsn.supernet.images import at_resolution

Batch = tuple[Tensor, Tensor]


def named_score(
    name: str, net: Supernet, batches: Iterable[Batch], loss: Callable[[nn.Module, Any], Tensor] | None = None
) -> ChannelScore:
    """Return the importance of a supernet's channels by one of :data:`wsn.schedule.IMPORTANCE`.

    Args:
        name: name of the criterion.
        net: the supernet; it is in its mode again afterwards.
        batches: inputs and labels, as a data module gives them; each is looked at once and let go.
        loss: (largest network, batch) → scalar; only ``taylor`` wants it.

    Raises:
        WsnError: an unknown name.
    """
    if name not in IMPORTANCE:
        raise WsnError(f"importance must be one of {listed(IMPORTANCE)}. Received {name!r}")
    if name in ("l1", "l2"):
        return magnitude(net.model, p=int(name[1]))
    training = net.model.training
    net.model.eval()
    if name == "taylor":
        assert loss is not None
        score = taylor(net.model, batches, loss)
    else:
        largest = net.space.max()
        seen = ((at_resolution(x, largest), labels) for x, labels in batches)
        score = {"wanda": wanda, "flap": flap, "minitron": minitron, "uniql": uniql}[name](net.model, seen)
    net.model.train(training)
    return score
