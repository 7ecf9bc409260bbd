"""Couplings: which leaves of a block share a group of channels.

A backbone declares them once for each class of block; narrowing a block to its first channels and permuting its
channels are then the same operation, :func:`couple`, with another index.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from wsn.supernet.leaves import Channels, Index, set_parameter, shallow_tree, take, take_channels


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
