"""Switchable batch norm: private statistics and affine parameters for each of a list of subnets."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsn.errors import WsnError
from wsn.narrow import Coupling, detach_tree, shallow
from wsn.space import SearchSpace
from wsn.subnet import Subnet
from wsn.supernet import Choice, Supernet


class SwitchableNorms(Supernet):
    """A supernet whose listed subnets each have batch norms of their own; all other weights are shared.

    A listed subnet needs no BN calibration. Others run with the shared norms, which training the listed ones
    leaves alone.

    Args:
        net: the supernet to take the weights from.
        subnets: which subnets have norms of their own.

    Source: Slimmable Neural Networks, Yu et al. 2019, arXiv:1812.08928, §3.2.
    """

    def __init__(self, net: Supernet, subnets: Sequence[Subnet]):
        nn.Module.__init__(self)
        self.net = net
        self.space = net.space
        self.in_chans = net.in_chans
        self.elastic = net.elastic
        self.parents = net.parents
        self.providers = nn.ModuleList()
        self.known_costs = net.known_costs
        self.norms = nn.ModuleDict()
        self._paths: dict[str, list[str]] = {}
        for subnet in subnets:
            own = {n: m for n, m in net.view(subnet).named_modules() if isinstance(m, _BatchNorm)}
            self._paths[subnet.id] = list(own)
            self.norms[subnet.id] = nn.ModuleList(_independent(m) for m in own.values())

    @property
    def model(self) -> Any:  # type: ignore[override]
        """The largest network, with the shared norms."""
        return self.net.model

    def blocks(self, subnet: Subnet) -> dict[str, Choice]:
        return self.net.blocks(subnet)

    def outside(self, subnet: Subnet) -> Choice:
        private = subnet.id if subnet.id in self._paths else None
        return (*self.net.outside(subnet), private)

    def segments(self, subnet: Subnet) -> list[tuple[str, Choice]]:
        return self.net.segments(subnet)

    def narrow(self, path: str, choice: Choice) -> nn.Module:
        return self.net.narrow(path, choice)

    def segment(self, name: str, choice: Choice) -> nn.Module:
        return self.net.segment(name, choice)

    def segment_input(self, name: str, subnet: Subnet) -> Tensor | None:
        return self.net.segment_input(name, subnet)

    def example(self, subnet: Subnet) -> Tensor:
        return self.net.example(subnet)

    def predict(self, view: nn.Module, inputs: Tensor, subnet: Subnet) -> Tensor:
        return self.net.predict(view, inputs, subnet)

    def view(self, subnet: Subnet) -> nn.Module:
        """Return the subnet as views, with the norms of its own if it is listed."""
        view = self.net.view(subnet)
        if subnet.id in self._paths:
            norms: Any = self.norms[subnet.id]
            for path, norm in zip(self._paths[subnet.id], norms, strict=True):
                parent, _, name = path.rpartition(".")
                view.get_submodule(parent)._modules[name] = shallow(norm)
        return view

    def order_channels(self, keep: SearchSpace | None = None, score: Any = None) -> dict[str, dict[Coupling, Tensor]]:
        """Refuse: private norms know the channels by their place.

        Raises:
            WsnError: always.
        """
        raise WsnError("Channels cannot be sorted once subnets have norms of their own; remove order_channels")


def _independent(norm: nn.Module) -> nn.Module:
    with torch.inference_mode(False), torch.enable_grad():
        return copy.deepcopy(detach_tree(shallow(norm)))
