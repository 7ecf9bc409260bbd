"""Costs that are counted, exactly and without running anything."""

from wsn.cost_models.base import CostModel, language_only
from wsn.cost_models.macs import Part, cost
from wsn.space import Subnet
from wsn.supernet import Supernet


class Macs(CostModel):
    """Multiply-adds of convolutions and linear layers: of one image, or of one token."""

    label, scale = "multiply-adds (millions)", 1e-6

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        return cost(net, subnet).macs

    def part(self, part: Part) -> float:
        return part.macs


class Params(CostModel):
    """Parameters of the extracted subnet."""

    label, scale = "parameters (millions)", 1e-6

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        return cost(net, subnet).params

    def part(self, part: Part) -> float:
        return part.params


class WeightBytes(CostModel):
    """Bytes of the extracted subnet's parameters.

    Args:
        bits: of each parameter, e.g. 8 for int8. Codes of elastic bit-widths count as packed, their scales and zeros as
            ``bits`` each.
    """

    label, scale = "weights (MB)", 1e-6

    def __init__(self, bits: int = 32):
        self.bits = bits

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        saved = sum(p.saved_bits(net, subnet, self.bits) for p in net.providers)  # type: ignore[operator]
        return (cost(net, subnet).params * self.bits - saved) / 8

    def part(self, part: Part) -> float:
        return part.params * self.bits / 8


class KVCacheBytes(CostModel):
    """Bytes of a language model's cache of keys and values.

    Args:
        context: tokens that it holds.
        batch: sequences.
        bits: of each value.
    """

    label, scale = "KV cache (MB)", 1e-6

    def __init__(self, context: int = 1024, batch: int = 1, bits: int = 32):
        self.values = context * batch * bits / 8

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        return language_only(net, "kv_cache").cache_size(subnet) * self.values
