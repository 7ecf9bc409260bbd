"""GPTQ: weights rounded to few bits, one input channel after another, each error made up for by those that follow."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wsn.backbones.causal_lm_kinds import residual_stream
from wsn.importance.activations import padding_of
from wsn.supernet.leaves import set_parameter, shallow_tree
from wsn.supernet.order import as_weight, reads_channels

DAMPING = 0.01  # of the mean of the Hessian's diagonal, as in the released code


class Quantised(NamedTuple):
    """A weight (out, in) of few bits: ``scales · codes + zeros``, with one scale and zero for a group of inputs.

    Args:
        codes: (out, in), from 0 to 2^bits − 1, uint8.
        scales: (out, in / group).
        zeros: (out, in / group), what a code of 0 stands for.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def dense(self) -> Tensor:
        """Return the weight (out, in)."""
        codes = self.codes.unflatten(1, (self.scales.shape[1], -1)).to(self.scales.dtype)
        return (codes * self.scales[..., None] + self.zeros[..., None]).flatten(1)


@torch.no_grad()
def quantise(weight: Tensor, bits: int, group: int, hessian: Tensor | None = None) -> Quantised:
    """Round a weight; the grid of a group spans its smallest to its largest value.

    Args:
        weight: (out, in).
        bits: of a code.
        group: input channels that share a scale and a zero; divides ``in``.
        hessian: (in, in), Σ x xᵀ over inputs x: GPTQ. None: to the nearest.

    Source: GPTQ, Frantar et al. 2023, arXiv:2210.17323, algorithm 1, with groups as in the released code. Differs:
    zeros are real numbers, which QA-LoRA makes them anyway; channels that are never active are rounded to the nearest.
    """
    rest, top = weight.detach().float().clone(), 2**bits - 1
    factor = torch.eye(rest.shape[1], device=rest.device) if hessian is None else _inverse_factor(hessian)
    codes, scales, zeros = torch.empty_like(rest, dtype=torch.uint8), [], []
    for first in range(0, rest.shape[1], group):
        after = first + group
        low, high = rest[:, first:after].aminmax(dim=1)
        scale = ((high - low) / top).clamp(min=torch.finfo(torch.float32).tiny)
        scale, low = (found.to(weight.dtype).float() for found in (scale, low))  # as they will be stored
        errors = torch.zeros_like(rest[:, first:after])
        for at in range(first, after):
            code = ((rest[:, at] - low) / scale).round().clamp(0, top)
            error = (rest[:, at] - (scale * code + low)) / factor[at, at]
            rest[:, at + 1 : after] -= error[:, None] * factor[at, at + 1 : after]
            codes[:, at], errors[:, at - first] = code.to(torch.uint8), error
        rest[:, after:] -= errors @ factor[first:after, after:]
        scales.append(scale)
        zeros.append(low)
    return Quantised(codes, torch.stack(scales, 1).to(weight.dtype), torch.stack(zeros, 1).to(weight.dtype))


def _inverse_factor(hessian: Tensor) -> Tensor:
    """Return the upper Cholesky factor (in, in) of the inverse of a damped Hessian."""
    damped = hessian.double().clone()
    diagonal = damped.diagonal()
    diagonal += DAMPING * diagonal.mean()
    diagonal[diagonal == 0] = 1.0
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()


def linear_layers(net: Any) -> dict[str, list[str]]:
    """Return the path of each block of a supernet's largest network, and the names of the linear layers in it."""
    blocks = {path: net.model.get_submodule(path) for path in net.blocks(net.space.max())}
    return {path: [n for n, leaf in block.named_modules() if reads_channels(leaf)] for path, block in blocks.items()}


@torch.no_grad()
def round_nearest(net: Any, bits: int, group: int) -> Iterator[tuple[str, Quantised]]:
    """Yield path and rounded weight of each linear layer of a supernet's blocks."""
    for path in (f"{block}.{name}" for block, names in linear_layers(net).items() for name in names):
        leaf = net.model.get_submodule(path)
        yield path, quantise(as_weight(leaf, leaf.weight), bits, group)


@torch.no_grad()
def round_gptq(net: Any, bits: int, group: int, batches: Iterable[Any]) -> Iterator[tuple[str, Quantised]]:
    """Yield path and rounded weight of each linear layer of a supernet's blocks, by GPTQ.

    Block after block: a block's Hessians are of the inputs that the rounded blocks before it give. The network is left
    as it is. Memory: the residual stream of all batches, and the Hessians of one block.

    Args:
        net: a supernet of a language model, in evaluation mode.
        bits: of a code.
        group: input channels that share a scale and a zero.
        batches: inputs, or pairs of inputs and labels; positions of padding do not count.
    """
    calls = _block_calls(net, batches)
    streams: Sequence[Tensor] | None = None
    for path, names in linear_layers(net).items():
        block = shallow_tree(net.model.get_submodule(path))
        streams = streams or [call.stream for call in calls[path]]
        hessians = _hessians(block, names, streams, calls[path])
        for name in names:
            leaf: Any = block.get_submodule(name)
            found = quantise(as_weight(leaf, leaf.weight), bits, group, hessians[name])
            yield f"{path}.{name}", found
            set_parameter(leaf, "weight", as_weight(leaf, found.dense()))
        streams = [_run(block, x, call) for x, call in zip(streams, calls[path])]


class _Call(NamedTuple):
    """How a block was called: its input (B, T, C) of the first block, what else it got, and what is not padding."""

    stream: Any
    args: tuple
    kwargs: Mapping[str, Any]
    keep: Tensor | None


def _block_calls(net: Any, batches: Iterable[Any]) -> dict[str, list[_Call]]:
    """Return how each block is called with each batch."""
    largest = net.space.max()
    calls: dict[str, list[_Call]] = {path: [] for path in net.blocks(largest)}
    first, keep = next(iter(calls)), None

    def hook(path: str) -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
        def see(block: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            named = dict(kwargs)
            stream = args[0] if args else named.pop("hidden_states")
            calls[path].append(_Call(stream if path == first else None, args[1:], named, keep))

        return see

    handles = [net.model.get_submodule(p).register_forward_pre_hook(hook(p), with_kwargs=True) for p in calls]
    try:
        for batch in batches:
            inputs, keep = padding_of(batch)
            net.predict(net.model, inputs, largest)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _run(block: nn.Module, stream: Tensor, call: _Call) -> Tensor:
    return residual_stream(block(stream, *call.args, **call.kwargs))


def _hessians(
    block: nn.Module, names: Sequence[str], streams: Sequence[Tensor], calls: Sequence[_Call]
) -> dict[str, Tensor]:
    """Return Σ x xᵀ (in, in) of the inputs of linear layers of a block."""
    sums: dict[str, Tensor] = {}
    keep: Tensor | None = None

    def hook(name: str) -> Callable[[nn.Module, tuple], None]:
        def see(leaf: nn.Module, args: tuple) -> None:
            x = (args[0] if keep is None else args[0][keep]).float().flatten(0, -2)
            sums[name] = sums[name] + x.T @ x if name in sums else x.T @ x

        return see

    handles = [block.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    for stream, call in zip(streams, calls):
        keep = call.keep
        _run(block, stream, call)
    for handle in handles:
        handle.remove()
    return sums
