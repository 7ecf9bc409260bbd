"""Narrowing: layers whose parameters are views into another layer's parameters.

The primitives below work on one leaf layer (convolution, linear, embedding, norm). A backbone declares once, for each
class of block, which leaves share a group of channels (a :class:`Coupling`); narrowing a block to its first
channels and permuting its channels are then the same operation, :func:`couple`, with another index.
"""

import copy
import functools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Index = int | Tensor
"""Which units to take: the first n (an int; the result is a view) or these (a LongTensor; a copy)."""


@dataclass(frozen=True)
class Leaf:
    """A layer (or a parameter, by its last dimension) that takes part in a coupling.

    Args:
        name: path below the block.
        unit: channels of this leaf for each unit of the coupling, e.g. the size of an attention head.
        chunks: how many equal parts the channels are fused of, each with all units, e.g. 3 for query, key and value.
    """

    name: str
    unit: int = 1
    chunks: int = 1


@dataclass(frozen=True)
class Coupling:
    """A group of channels, or of units of several channels, that several leaves of a block share.

    Args:
        out: leaves that produce these channels or act on each of them (depthwise convolution, norm).
        into: leaves that consume them.
        group: couplings of the same group in different blocks are the same channels (a residual stream).
        scored_by: the consumers that tell how important a channel is; by default all of ``into``.
    """

    out: tuple[str | Leaf, ...] = ()
    into: tuple[str | Leaf, ...] = ()
    group: str | None = None
    scored_by: tuple[str, ...] | None = None


def leaf_of(member: str | Leaf) -> Leaf:
    """Return a member of a coupling as a :class:`Leaf`."""
    return member if isinstance(member, Leaf) else Leaf(member)


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


@dataclass(frozen=True)
class Channels:
    """Which channels of one leaf to take: an index of units, and how the leaf is made of them."""

    index: Index
    unit: int = 1
    chunks: int = 1

    def take(self, tensor: Tensor, dim: int) -> Tensor:
        """Take them along ``dim``: a view for the first units of one chunk, else a copy."""
        if isinstance(self.index, int):
            count = self.index * self.unit
            if count * self.chunks == tensor.shape[dim]:
                return tensor
            if self.chunks == 1:
                return tensor.narrow(dim, 0, count)
            parts = tensor.unflatten(dim, (self.chunks, -1))
            return parts.narrow(dim + 1, 0, count).flatten(dim, dim + 1)
        parts = tensor.unflatten(dim, (self.chunks, -1, self.unit))
        return parts.index_select(dim + 1, self.index.to(tensor.device)).flatten(dim, dim + 2)


def take(tensor: Tensor, channels: Channels | None, dim: int) -> Tensor:
    """Take some entries of ``dim``; None takes all."""
    return tensor if channels is None else channels.take(tensor, dim)


@functools.singledispatch
def take_channels(leaf: Any, out: Channels | None = None, into: Channels | None = None) -> Any:
    """Return ``leaf`` with some of its output and input channels.

    A layer of another library takes part through ``take_channels.register``.

    Args:
        leaf: a convolution, linear, embedding or norm layer, or a layer without channels (returned as it is).
        out: output channels; for depthwise convolutions, norms and embeddings the channels themselves.
        into: input channels of a dense layer.

    Raises:
        TypeError: a layer of another kind.
    """
    if list(leaf._parameters) == ["weight"] and leaf.weight.ndim == 1:  # an RMS norm of any library
        clone: Any = shallow(leaf)
        set_parameter(clone, "weight", take(leaf.weight, out, 0))
        if "normalized_shape" in clone.__dict__:
            _state(clone).update(normalized_shape=tuple(clone.weight.shape))
        return clone
    if next(leaf.parameters(), None) is not None:
        name = type(leaf).__name__
        raise TypeError(f"Cannot take channels of {name}; teach it with wsn.narrow.take_channels.register")
    return leaf


@take_channels.register
def _(leaf: nn.Conv2d, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone: Any = shallow(leaf)
    depthwise = leaf.groups > 1
    weight = take(take(leaf.weight, out, 0), None if depthwise else into, 1)
    set_parameter(clone, "weight", weight)
    if leaf.bias is not None:
        set_parameter(clone, "bias", take(leaf.bias, out, 0))
    channels = weight.shape[0]
    into_group = leaf.weight.shape[1]
    _state(clone).update(
        out_channels=channels,
        in_channels=channels // (leaf.out_channels // leaf.groups) * into_group if depthwise else weight.shape[1],
        groups=channels // (leaf.out_channels // leaf.groups) if depthwise else 1,
    )
    return clone


@take_channels.register
def _(leaf: nn.Linear, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone: Any = shallow(leaf)
    set_parameter(clone, "weight", take(take(leaf.weight, out, 0), into, 1))
    if leaf.bias is not None:
        set_parameter(clone, "bias", take(leaf.bias, out, 0))
    out_features, in_features = clone._parameters["weight"].shape
    _state(clone).update(out_features=out_features, in_features=in_features)
    return clone


@take_channels.register
def _(leaf: nn.modules.batchnorm._BatchNorm, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone = _take_affine(leaf, out)
    for name in ("running_mean", "running_var"):
        clone._buffers[name] = take(getattr(leaf, name), out, 0)
    _state(clone).update(num_features=len(clone._buffers["running_mean"]))
    return clone


@take_channels.register
def _(leaf: nn.LayerNorm, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone = _take_affine(leaf, out)
    _state(clone).update(normalized_shape=tuple(clone._parameters["weight"].shape))
    return clone


@take_channels.register
def _(leaf: nn.Embedding, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone: Any = shallow(leaf)
    set_parameter(clone, "weight", take(leaf.weight, out, 1))
    _state(clone).update(embedding_dim=clone._parameters["weight"].shape[1])
    return clone


def _take_affine(leaf: Any, out: Channels | None) -> Any:
    """Take channels of a norm's scale and shift."""
    clone = shallow(leaf)
    for name in ("weight", "bias"):
        value = getattr(leaf, name)
        if value is not None:
            set_parameter(clone, name, take(value, out, 0))
    return clone


def couple(block: nn.Module, indices: Mapping[Coupling, Index]) -> nn.Module:
    """Return ``block`` with, for each coupling, the channels of that index in all its leaves.

    With ints the result holds views into the block's parameters: that is narrowing. With permutations it
    computes the same function with its channels in another order: that is importance ordering.
    """
    return couple_in_place(shallow_tree(block), indices)


def couple_in_place(clone: nn.Module, indices: Mapping[Coupling, Index]) -> nn.Module:
    """Do as :func:`couple` to a module tree that is a shallow copy already."""
    prefixes = all(isinstance(index, int) for index in indices.values())
    of_leaf = by_leaf if prefixes else couplings_by_leaf
    for path, channels in of_leaf(tuple(indices.items())).items():
        parent, _, name = path.rpartition(".")
        owner = _descend(clone, parent)
        if owner is None:  # a block without this part, e.g. without squeeze-and-excite
            continue
        if name in owner._modules:
            leaf = owner._modules[name]
            if leaf is not None:
                owner._modules[name] = take_channels(leaf, **channels)
        elif (tensor := owner._parameters.get(name)) is not None:
            set_parameter(owner, name, take(tensor, channels["out"], tensor.ndim - 1))
    return clone


def couplings_by_leaf(indices: tuple[tuple[Coupling, Index], ...]) -> dict[str, dict[str, Channels]]:
    """Return, for each leaf, the channels that it puts out and takes in."""
    roles: dict[str, dict[str, Channels]] = {}
    for coupling, index in indices:
        for role, members in (("out", coupling.out), ("into", coupling.into)):
            for member in members:
                leaf = leaf_of(member)
                roles.setdefault(leaf.name, {})[role] = Channels(index, leaf.unit, leaf.chunks)
    return roles


by_leaf = functools.lru_cache(maxsize=10_000)(couplings_by_leaf)
"""The same of prefixes, remembered."""


def has_leaf(block: nn.Module, name: str) -> bool:
    """Tell whether a block has this layer."""
    leaf = _descend(block, name)
    return leaf is not None and not isinstance(leaf, nn.Identity)


def _descend(module: nn.Module, path: str) -> nn.Module | None:
    for name in path.split(".") if path else ():
        child = module._modules.get(name)
        if child is None:
            return None
        module = child
    return module


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
    """Return an independent deep copy of a view: leaf parameters of their own, contiguous; tied ones stay tied.

    Layers of a weight provider become the plain layers that compute the same.
    """
    own: dict[int, nn.Parameter] = {}
    for module in list(view.modules()):
        for name, child in module._modules.items():
            merged: Any = getattr(child, "merged", None)
            if merged is not None:
                module._modules[name] = merged()
    for module in view.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in own:
                value = parameter.detach().clone(memory_format=torch.contiguous_format)
                own[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
            module._parameters[name] = own[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.detach().clone(memory_format=torch.contiguous_format)
    return copy.deepcopy(view)
