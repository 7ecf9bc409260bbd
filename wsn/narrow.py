"""Narrowing: layers whose parameters are views into another layer's parameters.

The primitives below work on one leaf layer (convolution, linear, batch norm). A backbone declares once, for each
class of block, which leaves share a group of channels (a :class:`Coupling`); narrowing a block to its first
channels and permuting its channels are then the same operation, :func:`couple`, with another index.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Index = int | Tensor
"""Which channels to take: the first n (an int; the result is a view) or these (a LongTensor; a copy)."""


@dataclass(frozen=True)
class Coupling:
    """A group of channels that several leaves of a block share.

    Args:
        out: leaves that produce these channels or act on each of them (depthwise convolution, norm).
        into: leaves that consume them.
    """

    out: tuple[str, ...]
    into: tuple[str, ...] = ()


# A hook that is registered on a view must not run in the supernet.
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def shallow(module: nn.Module) -> nn.Module:
    """Copy one module: its own dictionaries, the same tensors and the same children."""
    clone = module.__class__.__new__(module.__class__)
    state = module.__dict__.copy()
    for table in ("_parameters", "_buffers", "_modules"):
        state[table] = state[table].copy()
    for table in _HOOKS:
        state[table] = OrderedDict(state[table]) if state[table] else OrderedDict()
    _state(clone).update(state)
    return clone


def _state(module: nn.Module) -> dict:
    """Return a module's own dictionary: nn.Module.__setattr__ is most of the time of making a view."""
    return object.__getattribute__(module, "__dict__")


def shallow_tree(module: nn.Module) -> nn.Module:
    """Copy a whole module tree, sharing every tensor with the original."""
    clone = shallow(module)
    for name, child in module._modules.items():
        if child is not None:
            clone._modules[name] = shallow_tree(child)
    return clone


def take(tensor: Tensor, index: Index | None, dim: int) -> Tensor:
    """Take the first ``index`` entries of ``dim`` (a view) or the entries listed in ``index`` (a copy)."""
    if index is None:
        return tensor
    if isinstance(index, int):
        return tensor if index == tensor.shape[dim] else tensor.narrow(dim, 0, index)
    return tensor.index_select(dim, index)


def take_channels(leaf: Any, out: Index | None = None, into: Index | None = None) -> Any:
    """Return ``leaf`` with some of its output and input channels.

    Args:
        leaf: a convolution (dense or depthwise), linear or batch norm layer, or an identity (returned as it is).
        out: output channels; for depthwise convolutions and norms the channels themselves.
        into: input channels of a dense layer.

    Raises:
        TypeError: a layer of another kind.
    """
    clone: Any = shallow(leaf)
    if isinstance(leaf, nn.Conv2d):
        depthwise = leaf.groups > 1
        weight = take(take(leaf.weight, out, 0), None if depthwise else into, 1)
        set_parameter(clone, "weight", weight)
        if leaf.bias is not None:
            set_parameter(clone, "bias", take(leaf.bias, out, 0))
        channels = weight.shape[0]
        _state(clone).update(
            out_channels=channels,
            in_channels=channels if depthwise else weight.shape[1],
            groups=channels if depthwise else 1,
        )
    elif isinstance(leaf, nn.Linear):
        set_parameter(clone, "weight", take(take(leaf.weight, out, 0), into, 1))
        if leaf.bias is not None:
            set_parameter(clone, "bias", take(leaf.bias, out, 0))
        out_features, in_features = clone._parameters["weight"].shape
        _state(clone).update(out_features=out_features, in_features=in_features)
    elif isinstance(leaf, nn.modules.batchnorm._BatchNorm):
        for name in ("weight", "bias"):
            set_parameter(clone, name, take(getattr(leaf, name), out, 0))
        for name in ("running_mean", "running_var"):
            clone._buffers[name] = take(getattr(leaf, name), out, 0)
        _state(clone).update(num_features=len(clone._buffers["running_mean"]))
    elif not isinstance(leaf, nn.Identity):
        raise TypeError(f"Cannot take channels of {type(leaf).__name__}; wsn narrows Conv2d, Linear and BatchNorm2d")
    return clone


def couple(block: nn.Module, indices: Mapping[Coupling, Index]) -> nn.Module:
    """Return ``block`` with, for each coupling, the channels of that index in all its leaves.

    With ints the result holds views into the block's parameters: that is narrowing. With permutations it
    computes the same function with its channels in another order: that is importance ordering.
    """
    roles: dict[str, dict[str, Index]] = {}
    for coupling, index in indices.items():
        for path in coupling.out:
            roles.setdefault(path, {})["out"] = index
        for path in coupling.into:
            roles.setdefault(path, {})["into"] = index
    clone = shallow_tree(block)
    for path, channels in roles.items():
        parent, _, name = path.rpartition(".")
        owner = clone.get_submodule(parent)
        if isinstance(owner, nn.Identity):  # a block without squeeze-and-excite
            continue
        owner._modules[name] = take_channels(owner._modules[name], **channels)
    return clone


def set_parameter(module: nn.Module, name: str, tensor: Tensor | None) -> None:
    """Put ``tensor`` in the place of a parameter, differentiably: it needs not be an nn.Parameter."""
    module._parameters[name] = tensor  # type: ignore[assignment]


def set_kernel(conv: nn.Conv2d, weight: Tensor) -> nn.Module:
    """Return ``conv`` with another kernel of its own (odd) size and 'same' padding, (O, I, k, k)."""
    clone = shallow(conv)
    set_parameter(clone, "weight", weight)
    size = weight.shape[-1]
    pad = size // 2
    _state(clone).update(kernel_size=(size, size), padding=(pad, pad), _reversed_padding_repeated_twice=[pad] * 4)
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


def detach_tree(view: nn.Module) -> nn.Module:
    """Return an independent deep copy of a view: leaf parameters of their own, contiguous."""
    for module in view.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                value = parameter.detach().clone(memory_format=torch.contiguous_format)
                module._parameters[name] = nn.Parameter(value, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.detach().clone(memory_format=torch.contiguous_format)
    return copy.deepcopy(view)
