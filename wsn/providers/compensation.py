"""FLAP's bias compensation: what pruned channels give on average is added as a bias."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wsn.providers.base import Provider
from wsn.space import Subnet
from wsn.supernet.couple import by_leaf, leaf_of
from wsn.supernet.leaves import set_parameter, take
from wsn.supernet.order import weight_of


class Compensation(Provider):
    """Adds to each layer that reads pruned channels the mean of what they gave: a bias W[:, pruned] · mean[pruned].

    One bias for each width of the space, zero until :meth:`fill`. Channels of the residual stream are not compensated:
    their norms have no fixed mean.

    Args:
        net: the supernet.

    Source: FLAP, An et al. 2024, arXiv:2312.11983, §3.3; released code ``compress``.
    """

    def __init__(self, net: Any):
        super().__init__()
        for leaf, path, kept in self._compensated(net):
            weight = weight_of(leaf)
            self.register_buffer(_buffer(path, kept), weight.new_zeros(len(weight)))

    @torch.no_grad()
    def fill(self, net: Any, means: Mapping[str, Tensor]) -> None:
        """Set the biases by the weights as they are now.

        Args:
            net: the supernet, its channels sorted.
            means: path of a layer → mean of each of its input channels (C,), sorted as the network is.
        """
        for leaf, path, kept in self._compensated(net):
            weight = weight_of(leaf)
            self._buffers[_buffer(path, kept)] = weight[:, kept:] @ means[path][kept:].to(weight)

    def _compensated(self, net: Any) -> Iterator[tuple[nn.Module, str, int]]:
        """Yield layer, path and kept input channels where some are pruned."""
        for path in net.blocks(net.space.max()):
            widths = [net.widths(path, choice) for choice in net.choices_at(path, net.space)]
            for name, kept in {read for found in widths for read in _reads(found)}:
                leaf = net.model.get_submodule(f"{path}.{name}")
                if kept < weight_of(leaf).shape[1]:
                    yield leaf, f"{path}.{name}", kept

    def forward(self, net: Any, view: nn.Module, subnet: Subnet) -> None:
        for path, widths, name, bias in self._found(net, subnet):
            leaf = view.get_submodule(f"{path}.{name}")
            bias = take(bias, by_leaf(tuple(widths.items()))[name].get("out"), 0)
            own = leaf._parameters["bias"]
            set_parameter(leaf, "bias", bias if own is None else own + bias)

    def params(self, net: Any, subnet: Subnet) -> int:
        leaves = [net.model.get_submodule(f"{path}.{name}") for path, _, name, _ in self._found(net, subnet)]
        return subnet.get("embed_dim", 0) * sum(leaf.bias is None for leaf in leaves)

    def _found(self, net: Any, subnet: Subnet) -> Iterator[tuple[str, Any, str, Tensor]]:
        for path, choice in net.blocks(subnet).items():
            widths = net.widths(path, choice)
            for name, kept in _reads(widths):
                bias = self._buffers.get(_buffer(f"{path}.{name}", kept))
                if bias is not None:
                    yield path, widths, name, bias


def _reads(widths: Mapping[Any, int]) -> list[tuple[str, int]]:
    """Return the layers of a block that read channels of its own, and how many of them."""
    members = [(leaf_of(m), count) for c, count in widths.items() if c.group is None for m in c.into]
    return [(leaf.name, count * leaf.unit) for leaf, count in members]


def _buffer(path: str, kept: int) -> str:
    return f"{path.replace('.', '_')}_{kept}"
