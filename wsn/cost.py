"""What a subnet costs: exact multiply-adds and parameters, fast enough for search."""

import copy
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wsn.subnet import Subnet
from wsn.supernet import Choice, Supernet

Shape = tuple[int, ...]

# Convolutions and linear layers; attention's matrix products are not counted, as in the literature's tables.
_COUNTED = (
    torch.ops.aten.convolution,
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
)


@dataclass(frozen=True)
class Cost:
    """Cost of one subnet.

    Args:
        macs: multiply-adds of convolutions and linear layers for one image at the subnet's resolution, or for one
            token of a language model.
        params: parameters of the extracted subnet (kernel matrices are not part of it).
    """

    macs: int
    params: int


def cost(net: Supernet, subnet: Subnet) -> Cost:
    """Return exact MACs and parameters of a subnet, without running it.

    Each (segment, choices, input shape) is measured once on the meta device and remembered; a subnet's cost is a
    sum over its segments, tens of thousands of queries a second once warm.

    Args:
        net: the supernet.
        subnet: a member of its space.

    Raises:
        WsnError: the subnet is not of this supernet's space.
    """
    table = _TABLES.get(net)
    if table is None:
        table = _TABLES[net] = CostTable(net)
    return table(subnet)


class CostTable:
    """Costs of the segments of one supernet, measured as they are asked for.

    Keeps a copy of the supernet on the meta device (shapes without data).
    """

    def __init__(self, net: Supernet):
        self.space = net.space
        self._meta = _to_meta(net)
        self._segments: dict[tuple[str, Choice, Shape], tuple[int, int, Shape, torch.dtype]] = {}
        self._subnets: dict[Subnet, Cost] = {}

    def __call__(self, subnet: Subnet) -> Cost:
        known = self._subnets.get(subnet)
        if known is None:
            known = self._subnets[subnet] = self._sum(subnet)
        return known

    def _sum(self, subnet: Subnet) -> Cost:
        if subnet not in self.space:
            self._meta.view(subnet)  # raises the error that lists what is allowed
        x = self._meta.example(subnet)
        shape, dtype = tuple(x.shape), x.dtype
        macs = params = 0
        for name, choice in self._meta.segments(subnet):
            given = self._meta.segment_input(name, subnet)
            if given is not None:
                shape, dtype = tuple(given.shape), given.dtype
            key = (name, choice, shape)
            found = self._segments.get(key)
            if found is None:
                x = torch.empty(shape, dtype=dtype, device="meta")
                found = self._segments[key] = self._measure(name, choice, x)
            macs, params, shape, dtype = macs + found[0], params + found[1], found[2], found[3]
        return Cost(macs, params)

    def _measure(self, name: str, choice: Choice, x: torch.Tensor) -> tuple[int, int, Shape, torch.dtype]:
        net = self._meta
        module = net.narrow(name, choice) if name in net.elastic else net.segment(name, choice)
        macs, out = count_macs(module, x)
        return macs, sum(p.numel() for p in module.parameters()), tuple(out.shape), out.dtype


def count_macs(module: nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Run ``module`` on ``x`` and return the multiply-adds of its convolutions and linear layers, and its output."""
    with torch.no_grad(), _FlopCounter() as counter:
        out = module(x)
    return counter.flops // 2, out


class _FlopCounter(TorchDispatchMode):
    """Counts as torch's ``FlopCounterMode`` does, of the counted operations alone: ten times faster on small blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in _COUNTED:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def _to_meta(net: Supernet) -> Supernet:
    """Copy a supernet to the meta device without copying its data."""
    memo = {id(t): torch.empty_like(t, device="meta") for t in net.buffers()}
    for p in net.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
    with torch.inference_mode(False):
        return copy.deepcopy(net, memo).float().eval()


_TABLES: "WeakKeyDictionary[Supernet, CostTable]" = WeakKeyDictionary()


class _CallableModule(ModuleType):
    """Lets ``wsn.cost(net, subnet)`` work after ``import wsn.cost`` has put this module in the function's place."""

    def __call__(self, net: Supernet, subnet: Subnet) -> Cost:
        return cost(net, subnet)


sys.modules[__name__].__class__ = _CallableModule
