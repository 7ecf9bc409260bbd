"""Switchable batch norm: private statistics and affine parameters for each of a list of subnets."""

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsn.errors import WsnError
from wsn.providers.base import Provider
from wsn.space import Subnet
from wsn.supernet.leaves import detach_tree, shallow


class SwitchableNorms(Provider):
    """Gives listed subnets batch norms of their own; all other weights are shared.

    A listed subnet needs no BN calibration. Others run with the shared norms, which training the listed ones leaves
    alone.

    Args:
        net: the supernet.
        subnets: which of its subnets have norms of their own.

    Source: Slimmable Neural Networks, Yu et al. 2019, arXiv:1812.08928, §3.2.
    """

    def __init__(self, net: Any, subnets: Sequence[Subnet]):
        super().__init__()
        self.norms = nn.ModuleDict()
        self._paths: dict[str, list[str]] = {}
        for subnet in subnets:
            own = {n: m for n, m in net.view(subnet).named_modules() if isinstance(m, _BatchNorm)}
            self._paths[subnet.id] = list(own)
            self.norms[subnet.id] = nn.ModuleList(_independent(m) for m in own.values())

    def forward(self, net: Any, view: nn.Module, subnet: Subnet) -> None:
        if subnet.id not in self._paths:
            return
        norms: Any = self.norms[subnet.id]
        for path, norm in zip(self._paths[subnet.id], norms, strict=True):
            parent, _, name = path.rpartition(".")
            view.get_submodule(parent)._modules[name] = shallow(norm)

    def key(self, subnet: Subnet) -> Hashable:
        return subnet.id if subnet.id in self._paths else None

    def permute(self, order: Any) -> None:
        """Refuse: private norms know the channels by their place.

        Raises:
            WsnError: always.
        """
        raise WsnError("Channels cannot be sorted once subnets have norms of their own; remove order_channels")


def _independent(norm: nn.Module) -> nn.Module:
    with torch.inference_mode(False), torch.enable_grad():
        return copy.deepcopy(detach_tree(shallow(norm)))
