"""Residual blocks of AttentiveNAS and BigNAS; needs torch and timm alone, and travels with exported networks.

Source: AttentiveNAS, Wang et al. 2021, arXiv:2011.09011, released code (``models/modules``).
"""

from typing import Any

import torch.nn.functional as F
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn


class Shortcut(nn.Module):
    """The residual path of a block: (B, in, H, W) → (B, out, ⌈H/stride⌉, ⌈W/stride⌉), identity where nothing changes.

    As in the released code it always owns a convolution, which runs only where channels differ.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(in_chs, out_chs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool, then change the channels."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, padding=x.shape[-1] % 2)
        return x if self.conv.in_channels == self.conv.out_channels else self.conv(x)


class WithShortcut(nn.Module):
    """Puts a :class:`Shortcut` into a block of timm, in the place of its conditional skip."""

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, **kwargs: Any):
        super().__init__(in_chs, out_chs, stride=stride, **kwargs)
        self.has_skip = False
        self.shortcut = Shortcut(in_chs, out_chs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the residual."""
        return self.drop_path(super().forward(x)) + self.shortcut(x)  # type: ignore[operator]


class ShortcutInvertedResidual(WithShortcut, InvertedResidual):
    """timm's inverted residual with a :class:`Shortcut`."""


class ShortcutDepthwiseSeparable(WithShortcut, DepthwiseSeparableConv):
    """timm's depthwise separable block (expand ratio 1) with a :class:`Shortcut`."""
