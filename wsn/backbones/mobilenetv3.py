"""Once-for-all's MobileNetV3 space on timm's MobileNetV3 blocks.

Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, §4 and appendix; Searching for MobileNetV3, Howard et al.
2019, arXiv:1905.02244.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.layers import make_divisible
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from wsn.backbones.inverted_residual import OFASqueezeExcite, strides_for
from wsn.backbones.once_for_all import OnceForAllSupernet, elastic_stages, once_for_all_space
from wsn.errors import WsnError
from wsn.space import SearchSpace

STRIDES = (2, 1, 2, 2, 2, 1, 2)  # stem, first block, then the five elastic stages
WIDTHS = (24, 40, 80, 112, 160)
ACTIVATIONS = ("re", "re", "hs", "hs", "hs")  # of the elastic stages
SQUEEZE = (False, True, False, True, True)


class MobileNetV3Supernet(OnceForAllSupernet):
    """MobileNetV3 with elastic depth, kernel size, expand ratio and input resolution.

    The largest network is timm's ``MobileNetV3``.

    Differs from the paper: in a band-preserving :meth:`order_channels` the squeeze-and-excite units stay within
    their bands too, so that subnets already trained keep their function (the released code sorts them over all).

    Args:
        num_classes: number of classes.
        in_chans: number of input channels.
        width_mult: multiplier of all widths; 1.0 and 1.2 are published.
        depth: choices of the number of blocks, per stage.
        kernel: choices of the depthwise kernel size, per block.
        expand: choices of the expand ratio, per block.
        resolution: choices of the input resolution in pixels.
        reduction: total stride. Below the published 32 stem, third stage, first stage and so on lose theirs:
            small images want 8 or 16.
        strides: of stem, first block and the five stages, in place of ``reduction``; e.g. [1, 1, 1, 2, 2, 1, 2] as
            DεpS has for 32 px.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from the first; 0 in every view
            whose role has dropout off.

    Raises:
        WsnError: an empty space, an even kernel, a reduction that is not a power of two up to 32, strides that are
            not seven ones and twos.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.0,
        depth: Any = (2, 3, 4),
        kernel: Any = (3, 5, 7),
        expand: Any = (3, 4, 6),
        resolution: Any = range(128, 225, 4),
        reduction: int = 32,
        strides: Sequence[int] | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        space = once_for_all_space(depth, kernel, expand, resolution, len(WIDTHS))
        strides = strides_for(reduction, STRIDES) if strides is None else _checked_strides(strides)
        model = _largest(space, num_classes, in_chans, width_mult, strides, drop_rate, drop_path_rate)
        super().__init__(model, space, in_chans)

    def head(self) -> nn.Module:
        m = self.model
        last = m.blocks[len(WIDTHS) + 1]
        return nn.Sequential(last, m.global_pool, m.conv_head, m.norm_head, m.act2, m.flatten, m.classifier)


def _checked_strides(strides: Sequence[int]) -> tuple[int, ...]:
    if len(strides) != len(STRIDES) or not set(strides) <= {1, 2}:
        raise WsnError(
            f"strides must be {len(STRIDES)} of 1 and 2: stem, first block, five stages. Received {list(strides)}; "
            f"published: backbone.strides={list(STRIDES)}"
        )
    return tuple(strides)


def _arch_def(space: SearchSpace, strides: tuple[int, ...]) -> list[list[str]]:
    suffixes = [f"{'_se0.25' if squeeze else ''}_n{act}" for squeeze, act in zip(SQUEEZE, ACTIVATIONS)]
    stages = elastic_stages(space, WIDTHS, strides[2:], suffixes)
    return [[f"ds_r1_k3_s{strides[1]}_e1_c16_nre"], *stages, ["cn_r1_k1_s1_c960"]]


def _largest(
    space: SearchSpace,
    num_classes: int,
    in_chans: int,
    width_mult: float,
    strides: tuple[int, ...],
    drop_rate: float,
    drop_path_rate: float,
) -> MobileNetV3:
    if not width_mult > 0:
        raise WsnError(f"width_mult must be positive. Received {width_mult}; 1.0 and 1.2 are published")
    round_widths = partial(round_channels, multiplier=width_mult)
    model = MobileNetV3(
        decode_arch_def(_arch_def(space, strides)),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_size=16,
        num_features=make_divisible(1280 * width_mult, 8),
        head_bias=False,
        round_chs_fn=round_widths,
        act_layer=nn.Hardswish,
        se_layer=OFASqueezeExcite,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    model.conv_stem.stride = (strides[0], strides[0])
    return model


SUPERNETS = {"mobilenet": MobileNetV3Supernet}
