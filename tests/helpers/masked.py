"""A language model that is pruned by masks: all tensors keep their size, and what is pruned is multiplied by zero."""

import copy

import torch
from torch import nn

from wsn.supernet.couple import leaf_of


class MaskedNorm(nn.Module):
    """RMS norm or layer norm over the channels that a mask keeps, at full width."""

    def __init__(self, norm, mask):
        super().__init__()
        self.norm, self.mask = norm, mask

    def forward(self, x):
        kept, width, weight = self.mask.sum(), len(self.mask), self.norm.weight
        x = x * self.mask
        if isinstance(self.norm, nn.LayerNorm):
            mean = x.sum(-1, keepdim=True) / kept
            variance = ((x - mean) * self.mask).square().sum(-1, keepdim=True) / kept
            return ((x - mean) * torch.rsqrt(variance + self.norm.eps) * weight + self.norm.bias) * self.mask
        share = kept / width  # the mean over all channels is that over the kept ones times this share
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.norm.variance_epsilon * share)
        return x * scale * share.sqrt() * weight * self.mask


def masked(net, subnet, order):
    """Return the largest network of ``net``, pruned to ``subnet`` by masks.

    ``order`` has the permutations that the sliced network was sorted by: the kept units are the first of each.
    """
    model = copy.deepcopy(net.model)
    kind, largest = net.kind, net.space.max()
    stream = _mask(order[""][kind.outside], subnet["embed_dim"])
    base = model.get_submodule(kind.base)
    for name in ("embed_tokens", "wte", "wpe"):
        if hasattr(base, name):
            getattr(base, name).register_forward_hook(lambda layer, args, out: out * stream)
    setattr(base, kind.norm, MaskedNorm(getattr(base, kind.norm), stream))
    kept = net.blocks(subnet)
    for path in net.blocks(largest):
        layer = model.get_submodule(path)
        for coupling, count in net.widths(path, kept.get(path, net.blocks(largest)[path])).items():
            if coupling is not kind.inside:
                (reader,) = map(leaf_of, coupling.into)
                inner = _mask(order[path][coupling], count).repeat_interleave(reader.unit)
                _before(layer.get_submodule(reader.name), inner)
                _after(layer.get_submodule(reader.name), stream if path in kept else 0 * stream)
        for name, child in layer.named_children():
            if name.startswith("ln_") or name.endswith("layernorm"):
                setattr(layer, name, MaskedNorm(child, stream))
    return model


def _mask(order, count):
    return torch.zeros(len(order)).index_fill(0, order[:count], 1.0)


def _before(layer, mask):
    layer.register_forward_pre_hook(lambda layer, args: (args[0] * mask,))


def _after(layer, mask):
    layer.register_forward_hook(lambda layer, args, out: out * mask)
