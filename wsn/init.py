"""Ways to initialise a supernet."""

from typing import Any

import torch
from torch import nn

from wsn.errors import WsnError
from wsn.supernet import Supernet


@torch.no_grad()
def he_fan_out(net: Supernet) -> None:
    """He initialisation by fan-out, as OFA trains from scratch with (released code, ``init_models``, ``he_fout``).

    Convolutions: normal with variance 2 / (k² · output channels), depthwise ones included; norms 1 and 0; linear
    layers uniform in ±1/√in. Kernel matrices stay the identity. A transformer, which has no batch norm, keeps its
    library's initialisation.
    """
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.model.modules()):
        return
    for module in net.model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            module.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            module.weight.uniform_(-bound, bound)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.weight.fill_(1.0)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def zero_gamma(net: Supernet) -> None:
    """He initialisation by fan-out, with the last norm of every residual block at zero: blocks start as the identity.

    Source: BigNAS, Yu et al. 2020, arXiv:2003.11142, §3.1; released re-implementations
    (``zero_residual_block_bn_weights``), after Goyal et al. 2017, arXiv:1706.02677, §5.1.
    """
    he_fan_out(net)
    for block in net.model.modules():
        if not (getattr(block, "has_skip", False) or hasattr(block, "shortcut")):
            continue
        norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
        if norms:
            norms[-1].weight.zero_()


@torch.no_grad()
def weight_selection(
    net: Supernet, larger: str | nn.Module, selection: str = "uniform", pretrained: bool | str = True, **kwargs: Any
) -> None:
    """Initialise the largest network with elements of a larger, pretrained one of the same family.

    Every tensor takes evenly spaced or the first elements along each dimension; of deeper networks the first layers
    are taken. Tensors that the larger network lacks, or has smaller (a classifier of other classes), stay.

    Args:
        net: the supernet.
        larger: name of a timm model, or a network.
        selection: ``uniform`` (evenly spaced) or ``consecutive`` (the first).
        pretrained: a timm tag or True for timm's weights, or the path of a state dict, where ``larger`` is a name.
        **kwargs: passed to ``timm.create_model``.

    Raises:
        WsnError: another selection, or a network of another family.

    Source: Initializing Models with Larger Ones, Xu et al. 2024, arXiv:2311.18823, §3; released code
    ``weight_selection.py``, which leaves the classifier out.
    """
    if selection not in ("uniform", "consecutive"):
        raise WsnError(f"selection must be uniform or consecutive. Received {selection!r}")
    if isinstance(larger, str):
        from wsn.backbones.pretrained import create_model

        larger = create_model(larger, pretrained, num_classes=1000, in_chans=net.in_chans or 3, **kwargs)
    assert isinstance(larger, nn.Module)
    source, taken = larger.state_dict(), 0
    for name, tensor in net.model.state_dict().items():
        wanted = source.get(name)
        if wanted is None or wanted.ndim != tensor.ndim or any(a < b for a, b in zip(wanted.shape, tensor.shape)):
            continue
        if name.startswith(("head.", "classifier.", "fc.")):
            continue
        for dim, size in enumerate(tensor.shape):
            wanted = wanted.index_select(dim, selected(wanted.shape[dim], size, selection))
        tensor.copy_(wanted)
        taken += 1
    if not taken:
        raise WsnError(f"No tensor of {type(larger).__name__} fits {type(net.model).__name__}: take one of its family")


def selected(larger: int, smaller: int, selection: str) -> torch.Tensor:
    """Return which of ``larger`` elements a dimension of ``smaller`` takes.

    >>> selected(6, 3, "uniform").tolist(), selected(6, 3, "consecutive").tolist()
    ([0, 2, 4], [0, 1, 2])
    """
    if selection == "consecutive":
        return torch.arange(smaller)
    if larger % smaller == 0:
        return torch.arange(smaller) * (larger // smaller)
    return torch.linspace(0, larger - 1, smaller).round().long()
