"""Slimmable networks: a short list of subnets with switchable batch norm."""

from collections.abc import Sequence
from typing import Any

from wsn.methods.base import Method
from wsn.providers.norms import SwitchableNorms
from wsn.samplers.listed import listed_subnets
from wsn.supernet import Supernet


class Slimmable(Method):
    """Train a list of subnets, each with batch norms of its own.

    Args:
        subnets: see :func:`wsn.samplers.listed.listed_subnets`; the sampler must draw from the same list.
        **kwargs: as for :class:`Method`.

    Source: Slimmable Neural Networks, Yu et al. 2019, arXiv:1812.08928.
    """

    def __init__(self, subnets: Sequence[Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.subnets = subnets

    def wrap(self, net: Supernet) -> Supernet:
        """Return the supernet with private norms for the listed subnets."""
        net = super().wrap(net)
        net.providers.append(SwitchableNorms(net, listed_subnets(net.space, self.subnets)))
        return net
