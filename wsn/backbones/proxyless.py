"""Once-for-all's ProxylessNAS space on timm's EfficientNet blocks.

Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, released code ``ofa_proxyless.py``; ProxylessNAS, Cai et al.
2019, arXiv:1812.00332.
"""

from functools import partial
from typing import Any

from timm.layers import make_divisible
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from wsn.backbones.inverted_residual import strides_for
from wsn.backbones.once_for_all import OnceForAllSupernet, elastic_stages, once_for_all_space
from wsn.errors import WsnError

WIDTHS = (24, 40, 80, 96, 192, 320)
STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)  # stem, first block, six stages


class ProxylessSupernet(OnceForAllSupernet):
    """ProxylessNAS's network with elastic depth, kernel size, expand ratio and input resolution.

    Args:
        num_classes: number of classes.
        in_chans: number of input channels.
        width_mult: multiplier of all widths; 1.3 is published.
        depth: choices of the number of blocks of the first five stages; the sixth has one.
        kernel: choices of the depthwise kernel size, per block.
        expand: choices of the expand ratio, per block.
        resolution: choices of the input resolution in pixels.
        reduction: total stride: 32 as published, less for small images.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from the first.

    Raises:
        WsnError: an empty space, an even kernel, another reduction, a width that is not positive.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.3,
        depth: Any = (2, 3, 4),
        kernel: Any = (3, 5, 7),
        expand: Any = (3, 4, 6),
        resolution: Any = range(128, 225, 4),
        reduction: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        if not width_mult > 0:
            raise WsnError(f"width_mult must be positive. Received {width_mult}; 1.3 is published")
        strides = strides_for(reduction, STRIDES)
        space = once_for_all_space(depth, kernel, expand, resolution, stages=5, fixed=1)
        stages = elastic_stages(space, WIDTHS, strides[2:], [""] * len(WIDTHS))
        model = EfficientNet(
            decode_arch_def([[f"ds_r1_k3_s{strides[1]}_e1_c16"], *stages]),
            num_classes=num_classes,
            in_chans=in_chans,
            stem_size=32,
            num_features=make_divisible(1280 * width_mult, 8),
            round_chs_fn=partial(round_channels, multiplier=width_mult),
            act_layer=nn.ReLU6,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        model.conv_stem.stride = (strides[0], strides[0])
        super().__init__(model, space, in_chans)


SUPERNETS = {"proxyless": ProxylessSupernet}
