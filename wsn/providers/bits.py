"""Elastic bit-widths: frozen codes of every bit-width for every linear layer, and a LoRA of its own for each."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.providers.base import Provider
from wsn.providers.gptq import Quantised, linear_layers
from wsn.space import Subnet
from wsn.supernet.leaves import set_parameter, shallow
from wsn.supernet.order import as_weight

BITS = range(2, 9)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack codes (out, in) of a few bits into planes (bits, out, in / 8): the first has the lowest bit of each.

    >>> codes = torch.tensor([[3, 0, 2, 1, 0, 0, 0, 3]], dtype=torch.uint8)
    >>> pack(codes, 2).tolist(), unpack(pack(codes, 2)).equal(codes)
    ([[[137]], [[133]]], True)
    """
    planes = torch.stack([codes >> bit & 1 for bit in range(bits)]).unflatten(-1, (-1, 8))
    return (planes << _eight(codes)).sum(-1, dtype=torch.uint8)


def unpack(planes: Tensor) -> Tensor:
    """Return the codes (out, in) of planes (bits, out, in / 8)."""
    values = (planes[..., None] >> _eight(planes) & 1).flatten(-2)
    return (values << _eight(planes)[: len(planes), None, None]).sum(0, dtype=torch.uint8)


def _eight(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)


class BitWidth(nn.Module):
    """One linear layer at one bit-width: packed codes, scales and zeros, which are frozen, and its LoRA.

    The LoRA reads the mean of each group of inputs, so that it changes the zeros alone: merged, it leaves the codes.

    Args:
        shape: (out, in) of the weight.
        bits: of a code.
        group: input channels that share a scale and a zero.
        rank: r of the LoRA.
        dtype: of scales and zeros.

    Source: QA-LoRA, Xu et al. 2024, arXiv:2309.14717, §3.3.
    """

    planes: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, shape: Sequence[int], bits: int, group: int, rank: int, dtype: torch.dtype):
        super().__init__()
        out, groups = shape[0], shape[1] // group
        self.register_buffer("planes", torch.zeros(bits, out, shape[1] // 8, dtype=torch.uint8))
        self.register_buffer("scales", torch.zeros(out, groups, dtype=dtype))
        self.register_buffer("zeros", torch.zeros(out, groups, dtype=dtype))
        bound = 1 / math.sqrt(groups)
        self.down = nn.Parameter(torch.empty(rank, groups).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.zeros(out, rank))

    def fill(self, found: Quantised) -> None:
        """Take a rounded weight."""
        self.planes.copy_(pack(found.codes, len(self.planes)))
        self.scales.copy_(found.scales)
        self.zeros.copy_(found.zeros)

    def weight(self, shift: Tensor | float = 0.0) -> Tensor:
        """Return the weight (out, in), its zeros (out, groups) shifted."""
        return Quantised(unpack(self.planes), self.scales, self.zeros + shift).dense()


class _Frozen(torch.autograd.Function):
    """x · Wᵀ with a frozen weight that is unpacked for forward and backward, not kept between them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: BitWidth) -> Tensor:
        ctx.width = width
        return F.linear(x, width.weight().to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.width.weight().to(grad.dtype), None


class BitsLinear(nn.Module):
    """A linear layer of a view at one bit-width.

    Args:
        base: the library's layer; its bias counts, its weight does not.
        width: codes and LoRA.
        scale: α/r of the LoRA.
    """

    def __init__(self, base: nn.Module, width: BitWidth, scale: float):
        super().__init__()
        self.base: Any = base
        self.width = width
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b + α/r · B A mean(x by groups), of (..., in)."""
        groups = x.unflatten(-1, (self.width.scales.shape[1], -1)).mean(-1)
        out = _Frozen.apply(x, self.width) + self.scale * F.linear(F.linear(groups, self.width.down), self.width.up)
        return out if self.base.bias is None else out + self.base.bias

    def merged(self) -> nn.Module:
        """Return the library's layer with the same codes and scales, as a dense weight; the zeros have the LoRA."""
        width, clone = self.width, shallow(self.base)
        group = 8 * width.planes.shape[2] // width.scales.shape[1]
        weight = width.weight(self.scale / group * (width.up @ width.down))
        set_parameter(clone, "weight", as_weight(self.base, weight))
        return clone


class BitWidths(Provider):
    """Codes and LoRAs of every bit-width for every linear layer of the blocks.

    A subnet's ``bits`` say which a block has. The codes are empty until :meth:`fill`, or until a state dict is loaded.

    Args:
        net: a supernet whose space has ``bits`` for each block, and all other dimensions at their largest.
        group: input channels that share a scale and a zero.
        rank: r of a LoRA.
        alpha: of the scale α/r.

    Raises:
        WsnError: bit-widths that are not 2 to 8, or a group that does not divide a layer.

    Source: LLM-QFA, Yi et al. 2024, arXiv:2405.20202, §3.2 (a LoRA for each bit-width, none is shared).
    """

    def __init__(self, net: Any, group: int = 32, rank: int = 64, alpha: float = 16.0):
        super().__init__()
        self.choices = sorted({bits for at in net.space.dimensions["bits"].choices for bits in at})
        if not set(self.choices) <= set(BITS):
            raise WsnError(f"method.bits must be integers from {BITS[0]} to {BITS[-1]}. Received {self.choices}")
        self.group, self.scale = group, alpha / rank
        self.paths = {block: [f"{block}.{name}" for name in names] for block, names in linear_layers(net).items()}
        self.layers = nn.ModuleDict()
        self.sizes: dict[str, tuple[int, int]] = {}
        for block, paths in self.paths.items():
            shapes = [self._add(net, path, rank) for path in paths]
            weights = sum(rows * columns for rows, columns in shapes)
            self.sizes[block] = weights, weights // group

    def _add(self, net: Any, path: str, rank: int) -> tuple[int, int]:
        leaf = net.model.get_submodule(path)
        rows, columns = as_weight(leaf, leaf.weight).shape
        if self.group % 8 or columns % self.group:
            raise WsnError(
                f"method.group must be a multiple of 8 that divides the {columns} inputs of {path}. Received "
                f"{self.group}; take method.group={math.gcd(columns, 128)}"
            )
        widths = {str(b): BitWidth((rows, columns), b, self.group, rank, leaf.weight.dtype) for b in self.choices}
        self.layers[_name(path)] = nn.ModuleDict(widths)
        return rows, columns

    def at(self, path: str, bits: int) -> BitWidth:
        """Return what the layer at ``path`` has at a bit-width."""
        return self.layers[_name(path)][str(bits)]  # type: ignore[index]

    @torch.no_grad()
    def fill(self, bits: int, found: Iterable[tuple[str, Quantised]]) -> None:
        """Take the rounded weights of one bit-width, by path."""
        for path, quantised in found:
            self.at(path, bits).fill(quantised)

    def forward(self, net: Any, view: nn.Module, subnet: Subnet) -> None:
        for block, bits in self._bits(net, subnet):
            for path in self.paths[block]:
                home, _, last = path.rpartition(".")
                owner = view.get_submodule(home)
                owner._modules[last] = BitsLinear(owner._modules[last], self.at(path, bits), self.scale)  # type: ignore[arg-type]

    def saved_bits(self, net: Any, subnet: Subnet, bits: int) -> int:
        sizes = [(*self.sizes[block], width) for block, width in self._bits(net, subnet)]
        return sum(weights * (bits - width) - 2 * groups * bits for weights, groups, width in sizes)

    def _bits(self, net: Any, subnet: Subnet) -> list[tuple[str, int]]:
        """Return the blocks that a subnet keeps, by path, and their bit-widths."""
        return list(zip(net.blocks(subnet), (bits for bits in subnet["bits"] if bits is not None), strict=True))


def _name(path: str) -> str:
    return path.replace(".", "_")  # names of modules have no dots
