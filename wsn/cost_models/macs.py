"""Exact multiply-adds and parameters of subnets, cached by block, fast enough for search."""

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wsn.space import Subnet
from wsn.supernet import BlockChoice, Supernet

Shape = tuple[int, ...]

# Convolutions and linear layers; attention's matrix products are not counted, as in the literature's tables.
_COUNTED = (
    torch.ops.aten.convolution,
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
)
_SHAPELESS = {
    getattr(torch.ops.aten, name)
    for name in ("native_batch_norm", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "relu", "relu_",
                 "silu", "silu_", "gelu", "sigmoid", "hardtanh", "hardtanh_")
}  # fmt: skip
"""Operations whose output is of the shape and type of their first argument, and of which nothing is counted."""


@dataclass(frozen=True)
class Cost:
    """Cost of one subnet.

    Args:
        macs: multiply-adds of convolutions and linear layers for one image at the subnet's resolution, or for one
            token of a language model. Attention's two matrix products are not counted, as in the literature's tables:
            of a hybrid such as mobilenetv4_hybrid_medium torch's FlopCounterMode says 3 % more.
        params: parameters of the extracted subnet (kernel matrices are not part of it).
    """

    macs: int
    params: int


class Part(NamedTuple):
    """One segment of a subnet: what it is, what goes in and out (of one sample), and what it costs."""

    name: str
    choice: BlockChoice
    shape: Shape
    dtype: torch.dtype
    out_shape: Shape
    out_dtype: torch.dtype
    macs: int
    params: int


def cost(net: Supernet, subnet: Subnet) -> Cost:
    """Return exact MACs and parameters of a subnet, without running it.

    Each (segment, choices, input shape) is measured once on the meta device and remembered; a subnet's cost is a
    sum over its segments, about ten thousand new subnets a second once warm.

    Args:
        net: the supernet.
        subnet: a member of its space.

    Raises:
        WsnError: the subnet is not of this supernet's space.
    """
    return cost_table(net)(subnet)


def cost_table(net: Supernet) -> "CostTable":
    """Return the one table of a supernet's costs, as long as its space is the same."""
    table = _TABLES.get(net)
    if table is None or table.space is not net.space:
        table = _TABLES[net] = CostTable(net)
    return table


class CostTable:
    """Costs of the segments of one supernet, measured as they are asked for.

    Keeps a copy of the supernet on the meta device (shapes without data).
    """

    def __init__(self, net: Supernet):
        self.space = net.space
        self.net = _to_meta(net)
        self._parts: dict[tuple[str, BlockChoice, Shape], Part] = {}
        self._subnets: dict[Subnet, Cost] = dict(net.known_costs)

    def __call__(self, subnet: Subnet) -> Cost:
        known = self._subnets.get(subnet)
        if known is None:
            parts = self.parts(subnet)
            provided = sum(p.params(self.net, subnet) for p in self.net.providers)  # type: ignore[operator]
            params = sum(p.params for p in parts) + provided
            known = self._subnets[subnet] = Cost(sum(p.macs for p in parts), params)
        return known

    def parts(self, subnet: Subnet) -> list[Part]:
        """Return the segments of a subnet, in order."""
        if subnet not in self.space:
            self.net.view(subnet)  # raises the error that lists what is allowed
        x = self.net.example(subnet)
        shape, dtype = tuple(x.shape), _dtype(x)
        parts = []
        for name, choice in self.net.segments(subnet):
            given = self.net.segment_input(name, subnet)
            if given is not None:
                shape, dtype = tuple(given.shape), _dtype(given)
            key = (name, choice, shape)
            part = self._parts.get(key)
            if part is None:
                part = self._parts[key] = self._measure(*key, dtype)
            parts.append(part)
            shape, dtype = part.out_shape, part.out_dtype
        return parts

    def _measure(self, name: str, choice: BlockChoice, shape: Shape, dtype: torch.dtype) -> Part:
        module = self.net.part(name, choice)
        macs, out = count_macs(module, torch.empty(shape, dtype=dtype, device="meta"))
        params = sum(p.numel() for p in module.parameters())
        return Part(name, choice, shape, dtype, tuple(out.shape), out.dtype, macs, params)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype that the copy on the meta device takes: Lightning may have made float64 the default."""
    return torch.float32 if x.is_floating_point() else x.dtype


def count_macs(module: nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Run ``module`` on ``x`` and return the multiply-adds of its convolutions and linear layers, and its output."""
    with torch.no_grad(), _FlopCounter() as counter:
        out = module(x)
    return counter.flops // 2, out


class _FlopCounter(TorchDispatchMode):
    """Counts as torch's ``FlopCounterMode`` does, of the counted operations alone: ten times faster on small blocks.

    Of tensors without data torch works out norms and activations in Python, operation by operation; only their shape
    matters, which is that of their input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet in _SHAPELESS and args[0].is_meta:
            return _as_input(packet, args[0])
        out = func(*args, **(kwargs or {}))
        if packet in _COUNTED:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def _as_input(packet: Any, x: torch.Tensor) -> Any:
    """Return what an operation of :data:`_SHAPELESS` returns: batch norm also has statistics, which are empty here."""
    if packet.__name__.endswith("_"):
        return x
    out = torch.empty_like(x)
    return (out, x.new_empty(0), x.new_empty(0)) if packet is torch.ops.aten.native_batch_norm else out


def _to_meta(net: Supernet) -> Supernet:
    """Copy a supernet to the meta device without copying its data."""
    memo = {id(t): torch.empty_like(t, device="meta") for t in net.buffers()}
    for p in net.parameters():
        meta = torch.empty(p.shape, dtype=p.dtype, device="meta")  # not empty_like: p may be quantised
        memo[id(p)] = nn.Parameter(meta, requires_grad=False)
    with torch.inference_mode(False):
        return copy.deepcopy(net, memo).float().eval()


_TABLES: "WeakKeyDictionary[Supernet, CostTable]" = WeakKeyDictionary()
