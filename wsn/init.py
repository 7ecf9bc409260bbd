"""Ways to initialise a supernet."""

import torch
from torch import nn

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
