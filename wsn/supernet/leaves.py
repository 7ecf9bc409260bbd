"""Leaves: layers whose parameters are views into another layer's, and copies of module trees that share tensors."""

import copy
import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Index = int | Tensor
"""Which units to take: the first n (an int; the result is a view) or these (a LongTensor; a copy)."""


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
    state_of(clone).update(state)
    return clone


def state_of(module: nn.Module) -> dict:
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
            state_of(clone).update(normalized_shape=tuple(clone.weight.shape))
        return clone
    if next(leaf.parameters(), None) is not None:
        name = type(leaf).__name__
        raise TypeError(f"Cannot take channels of {name}; teach it with wsn.supernet.leaves.take_channels.register")
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
    state_of(clone).update(
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
    state_of(clone).update(out_features=out_features, in_features=in_features)
    return clone


@take_channels.register
def _(leaf: nn.modules.batchnorm._BatchNorm, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone = _take_affine(leaf, out)
    for name in ("running_mean", "running_var"):
        clone._buffers[name] = take(getattr(leaf, name), out, 0)
    state_of(clone).update(num_features=len(clone._buffers["running_mean"]))
    return clone


@take_channels.register
def _(leaf: nn.LayerNorm, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone = _take_affine(leaf, out)
    state_of(clone).update(normalized_shape=tuple(clone._parameters["weight"].shape))
    return clone


@take_channels.register
def _(leaf: nn.Embedding, out: Channels | None = None, into: Channels | None = None) -> Any:
    clone: Any = shallow(leaf)
    set_parameter(clone, "weight", take(leaf.weight, out, 1))
    state_of(clone).update(embedding_dim=clone._parameters["weight"].shape[1])
    return clone


def _take_affine(leaf: Any, out: Channels | None) -> Any:
    """Take channels of a norm's scale and shift."""
    clone = shallow(leaf)
    for name in ("weight", "bias"):
        value = getattr(leaf, name)
        if value is not None:
            set_parameter(clone, name, take(value, out, 0))
    return clone


def set_parameter(module: nn.Module, name: str, tensor: Tensor | None) -> None:
    """Put ``tensor`` in the place of a parameter, differentiably: it needs not be an nn.Parameter."""
    module._parameters[name] = tensor  # type: ignore[assignment]


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


def set_dropout(module: nn.Module, on: bool) -> None:
    """Turn dropout and stochastic depth of a view or a plain module off (or leave them, if ``on``).

    timm keeps the rates as ``drop_rate`` on the model and ``drop_prob`` on DropPath; a view's copies of them are
    its own, so the supernet keeps its rates.
    """
    if on:
        return
    for part in module.modules():
        for rate in ("drop_rate", "drop_prob"):
            if getattr(part, rate, 0.0):
                setattr(part, rate, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0
