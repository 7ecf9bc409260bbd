"""Training one subnet alone: the baseline of every comparison."""

from typing import Any

from wsn.methods.base import Method, Standalone
from wsn.supernet import Supernet


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

    def prepare(self, net: Supernet) -> Supernet:
        """Return a network that is only the subnet: kernels of its own size, no kernel matrices."""
        net = super().prepare(net) if self.of is None else self.of.prepare(net)
        return Standalone(net, net.space.find(self.subnet))
