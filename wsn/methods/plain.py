"""Training one subnet alone: the baseline of every comparison."""

from typing import Any

from wsn.methods.base import Method, Standalone
from wsn.supernet import Supernet


class Plain(Method):
    """Train one fixed subnet as a network of its own, without weight sharing.

    Args:
        subnet: ``largest``, ``smallest``, ``middle``, choices as a mapping or JSON, or a subnet file.
        **kwargs: as for :class:`Method`.
    """

    def __init__(self, subnet: Any = "largest", **kwargs: Any):
        super().__init__(**kwargs)
        self.subnet = subnet

    def prepare(self, net: Supernet) -> Supernet:
        """Return a network that is only the subnet: kernels of its own size, no kernel matrices."""
        return Standalone(super().prepare(net), net.space.find(self.subnet))
