"""The spaces of AttentiveNAS (and AlphaNet) and of BigNAS on timm's MobileNetV3 and EfficientNet.

Every dimension belongs to a stage: width, depth, kernel and expand ratio. Widths differ between neighbouring stages, so
every block has a shortcut: average pooling where it strides and a 1×1 convolution where channels differ.

Source: AttentiveNAS, Wang et al. 2021, arXiv:2011.09011, released code (``configs/train_attentive_nas_models.yml``,
``models/modules``); BigNAS, Yu et al. 2020, arXiv:2003.11142, table 1, as released by a re-implementation
(github.com/xfey/pytorch-BigNAS).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from wsn.backbones.inverted_residual import (
    MIDDLE,
    SQUEEZED,
    OFASqueezeExcite,
    centre_crop,
    round_to_8,
    set_kernel,
    squeezed_channels,
    strides_for,
)
from wsn.backbones.shortcut import ShortcutDepthwiseSeparable, ShortcutInvertedResidual
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet
from wsn.supernet.couple import Coupling, couple

STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)  # stem, seven stages
HEAD_EXPAND = 6  # of the last stage's width, before pooling, in the MobileNetV3 head


class StagewiseSupernet(Supernet):
    """A MobileNet whose width, depth, kernel and expand ratio are elastic per stage.

    The largest network is timm's ``MobileNetV3`` or ``EfficientNet`` with the blocks above. A smaller kernel is the
    centre of the larger one, and identity shortcuts own a convolution that does not run, as in the released code: the
    published numbers of parameters count it. Streams of stages that can be equally wide are joined by identity
    shortcuts in some subnets; sorting channels by importance leaves them as they are once subnets are trained.

    Args:
        num_classes: number of classes.
        in_chans: number of input channels.
        width: choices of the stem's, the seven stages' and the last convolution's channels.
        depth: choices of the number of blocks, per stage.
        kernel: choices of the depthwise kernel size, per stage.
        expand: choices of the expand ratio, per stage; 1 makes depthwise separable blocks.
        resolution: choices of the input resolution in pixels.
        squeeze: whether the stages have squeeze-and-excite.
        mobilenetv3_head: expand the last stage sixfold before pooling, and mix features after it.
        reduction: total stride; 32 as published, less for small images.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; block i of n has i/n of it.
        drop_path_stages: how many of the last stages have stochastic depth.

    Raises:
        WsnError: an empty space, an even kernel, a wrong number of lists.
    """

    def __init__(
        self,
        width: Any,
        depth: Any,
        kernel: Any,
        expand: Any,
        resolution: Any,
        squeeze: Sequence[bool],
        mobilenetv3_head: bool,
        num_classes: int = 1000,
        in_chans: int = 3,
        reduction: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        drop_path_stages: int = 7,
    ):
        stages = len(STRIDES) - 1
        widths = Dimension("width", width, stages + 2, "stage", offset=1)
        depths = Dimension("depth", depth, stages, "stage")
        kernels, expands = Dimension("kernel", kernel, stages, "stage"), Dimension("expand", expand, stages, "stage")
        blocks = [int(choices[-1]) for choices in depths.choices]
        space = SearchSpace([widths, depths, kernels, expands, Dimension("resolution", resolution)], blocks)
        largest = space.max()
        strides = strides_for(reduction, STRIDES)
        model = _network(largest, strides, mobilenetv3_head, num_classes, in_chans, drop_rate)
        rates = _drop_path_rates(blocks, drop_path_rate, drop_path_stages)
        make = partial(_stage, largest, strides, squeeze, rates)
        model.blocks = nn.Sequential(*(make(stage) for stage in range(stages)), *model.blocks[stages:])
        super().__init__(model, space, in_chans, [f"blocks.{s}.{i}" for s, n in enumerate(blocks) for i in range(n)])
        self.mobilenetv3_head = mobilenetv3_head
        self.groups = _stream_groups(largest)
        self.meeting = _meeting(self.groups, widths)

    def reads(self, path: str) -> Reads:
        if not path:
            last = len(self.space.dimensions["width"]) - 1
            return [("width", 0), ("width", last - 1), ("width", last)]
        stage, i = (int(n) for n in path.split(".")[1:])
        return [("kernel", stage), ("expand", stage), ("width", stage + (i > 0)), ("width", stage + 1)]

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            return self._outside_widths(*choice)
        block = self.model.get_submodule(path)
        _, expand, into, out = choice
        stage, i = (int(n) for n in path.split(".")[1:])
        before, after = self.groups[stage + (i > 0)], self.groups[stage + 1]
        middle = round_to_8(round(into * expand))
        if isinstance(block, DepthwiseSeparableConv):
            widths = {
                Coupling(
                    ("conv_dw", "bn1", "se.conv_expand"), ("se.conv_reduce", "conv_pw", "shortcut.conv"), before
                ): into,
                Coupling(("conv_pw", "bn2", "shortcut.conv"), group=after): out,
            }
            middle = into
        else:
            widths = {
                Coupling(into=("conv_pw", "shortcut.conv"), group=before): into,
                MIDDLE: middle,
                Coupling(("conv_pwl", "bn3", "shortcut.conv"), group=after): out,
            }
        return widths if isinstance(block.se, nn.Identity) else {**widths, SQUEEZED: squeezed_channels(middle)}

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        kernel = choice[0]
        view = couple(self.model.get_submodule(path), self.widths(path, choice))
        conv: Any = view._modules["conv_dw"]
        if conv.kernel_size[0] != kernel:
            view._modules["conv_dw"] = set_kernel(conv, centre_crop(conv.weight, kernel))
        return view

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        m: Any = self.around(choice)
        if name == "stem":
            return nn.Sequential(m.conv_stem, m.bn1)
        if self.mobilenetv3_head:
            return nn.Sequential(m.blocks[-1], m.global_pool, m.conv_head, m.norm_head, m.act2, m.flatten, m.classifier)
        return nn.Sequential(m.conv_head, m.bn2, m.global_pool, m.classifier)

    def _outside_widths(self, stem: int, last_stage: int, last: int) -> dict[Coupling, int]:
        widths = {Coupling(("conv_stem", "bn1"), group=self.groups[0]): stem}
        if not self.mobilenetv3_head:
            return {
                **widths,
                Coupling(into=("conv_head",), group=self.groups[-1]): last_stage,
                Coupling(("conv_head", "bn2"), ("classifier",)): last,
            }
        expand = f"blocks.{len(STRIDES) - 1}.0"
        return {
            **widths,
            Coupling(into=(f"{expand}.conv",), group=self.groups[-1]): last_stage,
            Coupling((f"{expand}.conv", f"{expand}.bn1"), ("conv_head",)): HEAD_EXPAND * last_stage,
            Coupling(("conv_head",), ("classifier",)): last,
        }


def _network(
    largest: Subnet, strides: Sequence[int], mobilenetv3_head: bool, num_classes: int, in_chans: int, drop_rate: float
) -> Any:
    """Return timm's network around the stages; in their place are convolutions of the same channels."""
    stem, *stages, last = largest["width"]
    arch = [[f"cn_r1_k1_s{stride}_c{width}"] for width, stride in zip(stages, strides[1:])]
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "stem_size": stem,
        "num_features": last,
        "round_chs_fn": int,
        "act_layer": nn.SiLU,
        "drop_rate": drop_rate,
    }
    if mobilenetv3_head:
        arch.append([f"cn_r1_k1_s1_c{HEAD_EXPAND * stages[-1]}"])
        model: Any = MobileNetV3(decode_arch_def(arch), head_bias=False, **shared)
    else:
        model = EfficientNet(decode_arch_def(arch), **shared)
    model.conv_stem.stride = (strides[0], strides[0])
    return model


def _stage(
    largest: Subnet, strides: Sequence[int], squeeze: Sequence[bool], rates: Sequence[Sequence[float]], stage: int
) -> nn.Sequential:
    """Return the blocks of a stage of the largest network."""
    into, out = largest["width"][stage : stage + 2]
    expand = largest["expand"][stage]
    blocks: list[nn.Module] = []
    for i in range(largest["depth"][stage]):
        options: dict[str, Any] = {
            "stride": strides[stage + 1] if i == 0 else 1,
            "dw_kernel_size": largest["kernel"][stage],
            "act_layer": nn.SiLU,
            "se_layer": OFASqueezeExcite if squeeze[stage] else None,
            "drop_path_rate": rates[stage][i],
        }
        if expand == 1:
            blocks.append(ShortcutDepthwiseSeparable(into, out, **options))
        else:
            blocks.append(ShortcutInvertedResidual(into, out, exp_ratio=expand, **options))
        into = out
    return nn.Sequential(*blocks)


def _drop_path_rates(blocks: Sequence[int], rate: float, last_stages: int) -> list[list[float]]:
    rates, at = [], 0
    for stage, count in enumerate(blocks):
        on = stage >= len(blocks) - last_stages
        rates.append([rate * (at + i) / sum(blocks) * on for i in range(count)])
        at += count
    return rates


def _stream_groups(largest: Subnet) -> list[str]:
    """Name the residual streams of stem and stages; an identity shortcut in the largest makes two of them one."""
    names = ["stem"]
    for stage, (into, out) in enumerate(zip(largest["width"], largest["width"][1:-1])):
        names.append(names[-1] if into == out else f"stage{stage}")
    return names


def _meeting(groups: Sequence[str], widths: Dimension) -> frozenset[str]:
    """Return the streams of neighbouring stages that have the same width in some subnet, so an identity shortcut."""
    streams = list(zip(groups, widths.choices))
    pairs = [(a, b) for (a, x), (b, y) in zip(streams, streams[1:]) if a != b and set(x) & set(y)]
    return frozenset(group for pair in pairs for group in pair)


class AttentiveNASSupernet(StagewiseSupernet):
    """The space of AttentiveNAS and AlphaNet; see :class:`StagewiseSupernet`."""

    def __init__(
        self,
        width: Any = (
            [16, 24], [16, 24], [24, 32], [32, 40], [64, 72], [112, 120, 128], [192, 200, 208, 216], [216, 224],
            [1792, 1984],
        ),
        depth: Any = ([1, 2], [3, 4, 5], range(3, 7), range(3, 7), range(3, 9), range(3, 9), [1, 2]),
        kernel: Any = (3, 5),
        expand: Any = ([1], [4, 5, 6], [4, 5, 6], [4, 5, 6], [4, 5, 6], [6], [6]),
        resolution: Any = (192, 224, 256, 288),
        squeeze: Sequence[bool] = (False, False, True, False, True, True, True),
        mobilenetv3_head: bool = True,
        drop_path_stages: int = 2,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            width, depth, kernel, expand, resolution, squeeze, mobilenetv3_head,
            drop_path_stages=drop_path_stages, **kwargs,
        )  # fmt: skip


class BigNASSupernet(StagewiseSupernet):
    """The space of BigNAS; see :class:`StagewiseSupernet`."""

    def __init__(
        self,
        width: Any = (
            [32, 40], [16, 24], [24, 32], [40, 48], [80, 88], [112, 120, 128], [192, 200, 208, 216], [320, 352],
            [1280, 1408],
        ),
        depth: Any = ([1, 2], [2, 3], [2, 3], range(2, 5), range(2, 7), range(2, 7), [1, 2]),
        kernel: Any = ([3], [3], [3, 5], [3, 5], [3, 5], [3, 5], [3, 5]),
        expand: Any = ([1], [6], [6], [6], [6], [6], [6]),
        resolution: Any = (192, 224, 288, 320),
        squeeze: Sequence[bool] = (True,) * 7,
        mobilenetv3_head: bool = False,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(width, depth, kernel, expand, resolution, squeeze, mobilenetv3_head, **kwargs)


SUPERNETS = {"attentive_mobilenet": AttentiveNASSupernet, "bignas_mobilenet": BigNASSupernet}
