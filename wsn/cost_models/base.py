"""The base class of cost models."""

from typing import Any

import torch
from torch import Tensor

from wsn.cost_models.macs import Part
from wsn.errors import WsnError
from wsn.space import Subnet
from wsn.supernet import Supernet


class CostModel:
    """A number to keep small, for each subnet.

    Its key in conf/cost is the column of tables and the name in objectives and constraints.

    Attributes:
        label: on axes and in tables, with the unit.
        scale: from the value to what the label says.
    """

    label = "cost"
    scale = 1.0

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        """Return the cost of a subnet."""
        raise NotImplementedError

    def part(self, part: Part) -> float:
        """Return what one part adds to the cost, where the cost is a sum over parts.

        Raises:
            WsnError: it is not.
        """
        raise WsnError(
            f"{type(self).__name__} is no sum over the parts of a network, which a router needs. Set "
            "method.cost._target_ to wsn.cost_models.counted.Params, .Macs or .WeightBytes, or to "
            "wsn.cost_models.table.LatencyTable"
        )

    def hardware(self) -> dict[str, Any] | None:
        """Return what the figures were measured on; None for what is counted."""
        return None


def example_input(net: Supernet, subnet: Subnet, batch: int = 1, tokens: int = 1) -> Tensor:
    """Return an input of a subnet: random images (B, C, H, W) at its resolution, or tokens (B, T)."""
    like = net.example(subnet)
    if like.is_floating_point():
        return torch.randn(batch, *like.shape[1:])
    return torch.zeros(batch, tokens, dtype=like.dtype)


def language_only(net: Supernet, what: str) -> Any:
    """Return a supernet of a language model.

    Raises:
        WsnError: it reads images.
    """
    if net.inputs == "images":
        raise WsnError(f"cost={what} is of language models; this supernet reads images. Take cost=macs or cost=latency")
    return net
