"""Narrowing timm's inverted residual blocks: which of their layers share channels, and elastic depthwise kernels."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.layers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.supernet.couple import Coupling
from wsn.supernet.leaves import set_parameter, shallow, state_of

MIDDLE = Coupling(
    out=("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_expand"),
    into=("se.conv_reduce", "conv_pwl"),
    scored_by=("conv_pwl",),  # as OFA's released code does
)
SQUEEZED = Coupling(out=("se.conv_reduce",), into=("se.conv_expand",))


def round_to_8(channels: float) -> int:
    """Round to a multiple of 8, not more than a tenth below."""
    return make_divisible(channels, 8)


def squeezed_channels(middle: int) -> int:
    """Return the number of squeeze-and-excite units for this many middle channels (OFA, AttentiveNAS)."""
    return round_to_8(middle // 4)


OFASqueezeExcite = partial(SqueezeExcite, gate_layer=nn.Hardsigmoid, force_act_layer=nn.ReLU, rd_round_fn=round_to_8)
"""Squeeze-and-excite as OFA and AttentiveNAS have it: a quarter of the middle, ReLU, hard sigmoid."""


def strides_for(reduction: int, published: Sequence[int], dropped: Sequence[int] = (0, 4, 2, 3, 6)) -> tuple[int, ...]:
    """Return the strides of stem, first block or stage and the others with this total stride.

    Late maps stay large: on 28-px images stem and third stage first gave +1.4 points over the stem alone, at the same
    time per step on CPUs.

    Args:
        reduction: total stride: 1, 2, 4, 8, 16 or 32.
        published: the strides whose product is 32: stem, first block, first stages.
        dropped: which of them lose theirs, in this order.

    >>> strides_for(8, (2, 1, 2, 2, 2, 1, 2))
    (1, 1, 2, 2, 1, 1, 2)
    """
    strides, total = list(published), 32
    for i in dropped:
        if total > reduction:
            strides[i], total = 1, total // 2
    if total != reduction:
        raise WsnError(f"reduction must be 1, 2, 4, 8, 16 or 32. Received {reduction!r}; set backbone.reduction=32")
    return tuple(strides)


def kernel_matrices(paths: Iterable[str], sizes: Iterable[Sequence[float]]) -> nn.ModuleDict:
    """Return, for each block, the learned matrices that shrink its kernel step by step (identity: a centre crop)."""
    found = nn.ModuleDict()
    for path, choices in zip(paths, sizes, strict=True):
        steps = reversed([*pairwise(choices)])  # largest first; a dict would be sorted by name
        matrices = [(f"{large}to{small}", torch.eye(int(small) ** 2)) for small, large in steps]
        found[path.replace(".", "_")] = nn.ParameterDict(matrices)
    return found


def with_kernel(block: nn.Module, kernel: int, matrices: Any) -> nn.Module:
    """Give a block (a shallow copy) a smaller depthwise kernel, through matrices of :func:`kernel_matrices`."""
    conv: Any = block._modules["conv_dw"]
    if conv.kernel_size[0] != kernel:
        block._modules["conv_dw"] = set_kernel(conv, transform_kernel(conv.weight, kernel, matrices))
    return block


def set_kernel(conv: nn.Conv2d, weight: Tensor) -> nn.Module:
    """Return ``conv`` with another kernel of its own (odd) size and 'same' padding, (O, I, k, k)."""
    clone = shallow(conv)
    set_parameter(clone, "weight", weight)
    size = weight.shape[-1]
    pad = size // 2
    state_of(clone).update(kernel_size=(size, size), padding=(pad, pad), _reversed_padding_repeated_twice=[pad] * 4)
    return clone


def centre_crop(kernel: Tensor, size: int) -> Tensor:
    """Crop (O, I, K, K) to its centre (O, I, size, size); a view."""
    start = (kernel.shape[-1] - size) // 2
    return kernel[..., start : start + size, start : start + size]


def transform_kernel(kernel: Tensor, size: int, matrices: Mapping[str, Tensor]) -> Tensor:
    """Shrink a kernel to ``size`` by OFA's chain of centre crops and learned matrices.

    Each step from one kernel size to the next smaller one crops the centre and multiplies the flattened
    kernel by that step's matrix, shared over channels; 7 → 3 goes through 5.

    Args:
        kernel: (O, 1, K, K), the largest kernel.
        size: wanted size, reached exactly by the chain.
        matrices: ``"{source}to{target}"`` → (target², target²), largest source first.

    Returns:
        (O, 1, size, size).

    Source: Once-for-All, Cai et al. 2020, §3.3 (kernel size), arXiv:1908.09791.
    """
    for name, matrix in matrices.items():
        if kernel.shape[-1] == size:
            break
        target = int(name.partition("to")[2])
        crop = centre_crop(kernel, target)
        flat = torch.nn.functional.linear(crop.reshape(-1, target**2), matrix)
        kernel = flat.view(crop.shape)
    return kernel
