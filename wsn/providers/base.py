"""The base class of weight providers."""

from collections.abc import Hashable
from typing import Any

from torch import nn

from wsn.errors import WsnError
from wsn.space import Subnet


class Provider(nn.Module):
    """Changes the leaves of a view: what a subnet computes beside its slices of the shared tensors.

    A supernet applies its ``providers``, one after another, to each view it makes, before layers are numbered anew.
    What a provider puts in the place of a leaf may have a method ``merged()`` that returns the library's own layer;
    extraction calls it, so an extracted subnet is a plain module.
    """

    def forward(self, net: Any, view: nn.Module, subnet: Subnet) -> None:
        """Change leaves of a fresh view in place.

        Args:
            net: the supernet.
            view: with the paths of the largest network.
            subnet: the subnet that the view is of.
        """
        raise NotImplementedError

    def key(self, subnet: Subnet) -> Hashable:
        """Return what a block's tensors depend on beside its own choices: blocks of equal keys can be shared."""
        return None

    def params(self, net: Any, subnet: Subnet) -> int:
        """Return how many parameters more an extracted subnet has; zeros that a configuration asks for do not count."""
        return 0

    def saved_bits(self, net: Any, subnet: Subnet, bits: int) -> int:
        """Return by how many bits an extracted subnet is smaller than with ``bits`` for each parameter."""
        return 0

    def permute(self, order: Any) -> None:
        """Refuse to follow permuted channels.

        Raises:
            WsnError: always.
        """
        raise WsnError(
            "Channels cannot be sorted once weight providers know them by their place; remove order_channels from the "
            "phases (method.selection.width sorts them before)"
        )
