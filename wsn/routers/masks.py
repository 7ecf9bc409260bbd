"""Masks: the largest network with shares of its units, so that choices have a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.routers.choices import Choices, Key, Weights
from wsn.supernet.couple import Leaf, leaf_of
from wsn.supernet.leaves import set_parameter
from wsn.supernet.precision import full_precision


class Mask:
    """A share for each unit: the sum over choices k of weight π_k and the mask of the first n_k units.

    The weights are looked up when the mask is asked for: a router inside the network may have put them there by then.

    Args:
        weights: shares of the choices.
        key: which choice decides.
        counts: n_k, for each choice.
        size: number of units.
        repeat: channels of a unit.
        device: of the mask.
    """

    def __init__(self, weights: Weights, key: Key, counts: Sequence[int], size: int, repeat: int, device: Any):
        self.weights = weights
        self.key = key
        units = torch.arange(size, device=device).repeat_interleave(repeat)
        self.table = (units < torch.tensor(counts, device=device).unsqueeze(1)).float()  # (K, C)

    def __call__(self) -> Tensor:
        """Return the mask (C,), or (B, 1, C), or (B, T, C)."""
        weights = self.weights.get(self.key)
        if weights is None:  # a single choice has no shares
            return self.table[0]
        return weights.to(self.table.dtype) @ self.table


class MaskedNorm(nn.Module):
    r"""RMS norm or layer norm of a masked residual stream, at full width: that of the kept channels.

    With a hard mask of the first d of D channels an RMS norm runs with :math:`\epsilon d / D` and its output is scaled
    by :math:`\sqrt{d/D}`: the mean over D channels is d/D of that over d, so the result is the narrow norm's. A soft
    mask has the effective width d = its sum.

    Args:
        norm: of the library.
        mask: returns (..., D).

    Source: Nemotron-Elastic, Taghibakhshi et al. 2025, arXiv:2511.16664; released code of Megatron-LM. Differs: the
    width has a gradient in eps too, and layer norms are masked as well.
    """

    def __init__(self, norm: nn.Module, mask: Callable[[], Tensor]):
        super().__init__()
        self.norm = norm
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a stream (B, T, D) that is zero outside the mask."""
        norm: Any = self.norm
        mask, full = self.mask(), full_precision(x)
        share = mask.mean(-1, keepdim=True)
        if isinstance(norm, nn.LayerNorm):
            centred = full - full.mean(-1, keepdim=True) / share * mask
            scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) / share + norm.eps)
            return (centred * scale * norm.weight + norm.bias * mask).to(x.dtype)
        scale = torch.rsqrt(full.square().mean(-1, keepdim=True) + norm.variance_epsilon * share)
        return norm.weight * (full * scale * share.sqrt()).to(x.dtype)


def masked(net: CausalLMSupernet, weights: Weights, frozen: bool = False) -> nn.Module:
    """Return the largest subnet with its units, channels and layers weighted by shares of the choices.

    With one-hot shares it computes what the view of that subnet computes. It is a fresh view: the supernet is left as
    it is. What writes the residual stream is multiplied by the mask of the hidden size and by the share of its layer
    (0: the layer is skipped); the inputs of the attention's and FFN's output layers by the masks of heads and units.

    Args:
        net: the supernet.
        weights: shares of each choice of its space that has several.
        frozen: whether the supernet's weights get no gradient.
    """
    view: Any = net.view(net.space.max())
    if frozen:
        _detach(view)
    make = _Masks(net, weights)
    stream = make.stream()
    _mask_stream(view, net.kind.outside.out, stream, stream)
    layers = view._modules[net.kind.base]._modules[net.kind.layers]
    for (_, _, at), layer in zip(net.space.kept(net.space.max()), layers.children()):
        _mask_stream(layer, net.kind.inside.out, stream, _product(stream, make.gate(at)))
        for coupling, name in ((net.kind.heads, "heads"), (net.kind.ffn, "ffn")):
            (reader,) = map(leaf_of, coupling.into)
            _before(layer.get_submodule(reader.name), make.units(name, at, reader))
    return view


class _Masks:
    """Makes the masks of one network."""

    def __init__(self, net: CausalLMSupernet, weights: Weights):
        self.choices = Choices(net.space)
        self.weights = weights
        self.kind = net.kind
        self.device = net.model.lm_head.weight.device

    def stream(self) -> Mask:
        return self._mask("embed_dim", 0, 1, 1)

    def units(self, name: str, layer: int, reader: Leaf) -> Mask:
        """Return the mask of heads, in groups, or of FFN units, as their reader takes them in."""
        return self._mask(name, layer, self.kind.group if name == "heads" else 1, reader.unit)

    def gate(self, layer: int) -> Mask:
        """Return the share of a layer, (1,) or (B, 1, 1)."""
        key, kept = self.choices.kept(layer)
        return Mask(self.weights, key, kept, 1, 1, self.device)

    def _mask(self, name: str, position: int, group: int, repeat: int) -> Mask:
        key, values = self.choices.values(name, position)
        counts = [value // group for value in values]
        return Mask(self.weights, key, counts, self.kind.sizes[name] // group, repeat, self.device)


def _mask_stream(module: nn.Module, members: Sequence[str | Leaf], mask: Mask, written: Callable[[], Tensor]) -> None:
    """Mask what writes the residual stream by ``written``, and put masked norms in the place of norms."""
    for name in (leaf_of(member).name for member in members):
        parent, _, last = name.rpartition(".")
        owner = module.get_submodule(parent)
        leaf: Any = owner._modules[last]
        if leaf.weight.ndim == 1:
            owner._modules[last] = MaskedNorm(leaf, mask)
        else:
            leaf.register_forward_hook(lambda layer, args, out: out * written().to(out.dtype))


def _product(a: Mask, b: Mask) -> Callable[[], Tensor]:
    return lambda: a() * b()


def _before(layer: nn.Module, mask: Mask) -> None:
    layer.register_forward_pre_hook(lambda layer, args: (args[0] * mask().to(args[0].dtype),))


def _detach(view: nn.Module) -> None:
    for module in view.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                set_parameter(module, name, parameter.detach())
