"""Training one subnet alone: the baseline of every comparison."""

from typing import Any

from torch import Tensor, nn

from wsn.cost_models.macs import cost
from wsn.methods.base import Method
from wsn.space import SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet


class Plain(Method):
    """Train one fixed subnet as a network of its own, without weight sharing.

    Args:
        subnet: ``largest``, ``smallest``, ``middle``, choices as a mapping or text, or a subnet file.
        of: the method of the supernet that the subnet is of, where that changes the space; None: the backbone's own.
        **kwargs: as for :class:`Method`.
    """

    def __init__(self, subnet: Any = "largest", of: Method | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.subnet = subnet
        self.of = of

    def space(self, net: Supernet) -> SearchSpace:
        """Return the space that the subnet is of."""
        return super().space(net) if self.of is None else self.of.space(net)

    def wrap(self, net: Supernet) -> Supernet:
        """Return a network that is only the subnet: kernels of its own size, no kernel matrices."""
        net = super().wrap(net) if self.of is None else self.of.wrap(net)
        return Standalone(net, net.space.find(self.subnet))


class Standalone(Supernet):
    """One subnet as a network of its own, in the clothes of a supernet whose space has that one member.

    Args:
        net: where the architecture comes from.
        subnet: member of the net's space.
    """

    def __init__(self, net: Supernet, subnet: Subnet):
        super().__init__(net.extract(subnet).requires_grad_(True), net.space.only(subnet), net.in_chans, [])
        self.inputs = net.inputs
        self.family = type(net)
        """Class of the supernet, whose ``predict`` runs such networks."""
        self.known_costs = {self.space.max(): cost(net, subnet)}

    def predict(self, view: nn.Module, inputs: Tensor, subnet: Subnet) -> Tensor:
        return self.family.predict(self, view, inputs, subnet)

    def example(self, subnet: Subnet) -> Tensor:
        return self.family.example(self, subnet)

    def reads(self, path: str) -> Reads:
        return []

    def kept(self, subnet: Subnet) -> list[str]:
        return []

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        return [("network", ())]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        return self.model
