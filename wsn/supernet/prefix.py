"""Subnets that begin alike share the computation of what they have in common.

Networks in lexicographic order of their blocks walk a trie depth first; so the outputs along one path are all that has
to be kept.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsn.space import Subnet
from wsn.supernet.supernet import Supernet

Step = tuple[str, Hashable]
"""A part of a network, by its path, and the choices that make it."""


def prefix_order(net: Supernet, subnets: Sequence[Subnet]) -> list[int]:
    """Return the indices of subnets in an order that puts those next to each other that begin alike."""
    position = {path: i for i, path in enumerate(net.blocks(net.space.max()))}

    def key(index: int) -> Any:
        subnet = subnets[index]
        blocks = [(position[path], choice) for path, choice in net.blocks(subnet).items()]
        return str(net.around_blocks(subnet)), blocks

    return sorted(range(len(subnets)), key=key)


class SharedPrefixes:
    """Runs views on the same inputs so that each common beginning is computed once.

    A view's forward stays the library's own. Its parts (each elastic block, and each of the other modules around
    them) hand out the output of the view before, as long as all parts until then were the same ones. What lies
    between the parts depends on the parts and on :meth:`Supernet.around_blocks` alone.

    Batch norms are private to a part, so parts that are shared are calibrated once; :meth:`adopt` gives them to
    all views.

    Args:
        net: the supernet.
        views: views of ``subnets``; their modules are changed (``forward`` of the parts), not their tensors.
        subnets: in the order of :func:`prefix_order`, for the most sharing.
    """

    def __init__(self, net: Supernet, views: Sequence[nn.Module], subnets: Sequence[Subnet]):
        self._stack: list[tuple[Step, Any, int]] = []
        self._cursor = 0
        self.computed = self.reused = 0
        self._parts = [list(_parts(net, view, subnet)) for view, subnet in zip(views, subnets)]
        self._roots = [net.around_blocks(s) for s in subnets]
        for root, parts in zip(self._roots, self._parts):
            for key, part in parts:
                part.forward = self._memoised((*root, *key), part.forward)

    def begin(self) -> None:
        """Start with another view, on the inputs of the one before."""
        self._cursor = 0

    def forget(self) -> None:
        """Start with other inputs."""
        self._stack.clear()
        self._cursor = 0

    def adopt(self) -> None:
        """Give every view the parts that ran in its place, with their batch-norm statistics."""
        previous: list[tuple[Step, nn.Module]] = []
        roots: tuple = ()
        for root, parts in zip(self._roots, self._parts):
            same = root == roots
            for i, (key, part) in enumerate(parts):
                same = same and i < len(previous) and previous[i][0] == key
                if not same:
                    break
                _take_statistics(part, previous[i][1])
            previous, roots = parts, root

    def release(self) -> None:
        """Give the views their own forward back."""
        self.forget()
        for parts in self._parts:
            for _, part in parts:
                del part.forward

    def _memoised(self, key: Any, run: Any) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            at = self._cursor
            self._cursor += 1
            if at < len(self._stack):
                known, out, version = self._stack[at]
                if known == key and version == _version(out):  # nothing has written into it since
                    self.reused += 1
                    return out
                del self._stack[at:]
            out = run(*args, **kwargs)
            self._stack.append((key, out, _version(out)))
            self.computed += 1
            return out

        return forward


def _version(out: Any) -> int:
    """Return how often the tensors of an output were written to in place."""
    if isinstance(out, Tensor):
        return out._version
    return sum(_version(o) for o in out if isinstance(o, Tensor | tuple)) if isinstance(out, tuple) else 0


def _parts(net: Supernet, view: nn.Module, subnet: Subnet) -> Iterator[tuple[Step, nn.Module]]:
    """Yield the elastic blocks and the largest modules around them, with what tells them apart."""
    choices = net.blocks(subnet)
    kept = iter(choices.items())  # the blocks of a view may be renumbered: they are met in network order

    def walk(module: nn.Module, path: str) -> Iterator[tuple[Step, nn.Module]]:
        for name, child in module._modules.items():
            if child is None:
                continue
            where = f"{path}.{name}" if path else name
            if where in net.elastic:
                yield next(kept), child
            elif where in net.parents:
                yield from walk(child, where)
            else:
                yield (where, ()), child

    if "" in net.elastic:
        yield ("", choices[""]), view
    else:
        yield from walk(view, "")


@torch.no_grad()
def _take_statistics(part: nn.Module, source: nn.Module) -> None:
    """Share the buffers (batch-norm statistics) of another copy of the same part."""
    for mine, theirs in zip(part.modules(), source.modules(), strict=True):
        mine._buffers.update(theirs._buffers)
