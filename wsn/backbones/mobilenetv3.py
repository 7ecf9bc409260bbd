"""Once-for-all's MobileNetV3 space on timm's MobileNetV3 blocks.

Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, §4 and appendix; Searching for MobileNetV3, Howard et al.
2019, arXiv:1905.02244.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.layers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from wsn.dimension import Dimension
from wsn.errors import WsnError
from wsn.narrow import Coupling, couple, set_kernel, transform_kernel
from wsn.space import SearchSpace
from wsn.subnet import Subnet
from wsn.supernet import Choice, Supernet, sort_channels

STRIDES = (2, 1, 2, 2, 2, 1, 2)  # stem, first block, then the five elastic stages
WIDTHS = (24, 40, 80, 112, 160)
ACTIVATIONS = ("re", "re", "hs", "hs", "hs")  # of the elastic stages
SQUEEZE = (False, True, False, True, True)

MIDDLE = Coupling(out=("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_expand"), into=("se.conv_reduce", "conv_pwl"))
SQUEEZED = Coupling(out=("se.conv_reduce",), into=("se.conv_expand",))


class MobileNetV3Supernet(Supernet):
    """MobileNetV3 with elastic depth, kernel size, expand ratio and input resolution.

    The largest network is timm's ``MobileNetV3``; the learned matrices that shrink kernels 7 → 5 → 3 are
    parameters of the supernet (identity at start: a centre crop), never of a subnet.

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
        space = mobilenetv3_space(depth, kernel, expand, resolution)
        strides = strides_for(reduction) if strides is None else _checked_strides(strides)
        model = _largest(space, num_classes, in_chans, width_mult, strides, drop_rate, drop_path_rate)
        elastic = [f"blocks.{s + 1}.{i}" for s, n in enumerate(space.stages) for i in range(n)]
        super().__init__(model, space, in_chans, elastic)
        self.position = {path: i for i, path in enumerate(elastic)}
        self.kernel_matrices = nn.ModuleDict()
        for path, sizes in zip(elastic, space.dimensions["kernel"].choices):
            steps = reversed([*pairwise(sizes)])  # largest first; a dict would be sorted by name
            matrices = [(f"{large}to{small}", torch.eye(int(small) ** 2)) for small, large in steps]
            self.kernel_matrices[path.replace(".", "_")] = nn.ParameterDict(matrices)

    def segments(self, subnet: Subnet) -> list[tuple[str, Choice]]:
        kernel, expand = subnet["kernel"], subnet["expand"]
        blocks = [(f"blocks.{stage + 1}.{i}", (kernel[at], expand[at])) for stage, i, at in self.space.kept(subnet)]
        return [("stem", ()), ("blocks.0.0", ()), *blocks, (f"blocks.{len(WIDTHS) + 1}.0", ()), ("head", ())]

    def segment(self, name: str) -> nn.Module:
        m = self.model
        if name == "stem":
            return nn.Sequential(m.conv_stem, m.bn1)
        if name == "head":
            return nn.Sequential(m.global_pool, m.conv_head, m.norm_head, m.act2, m.flatten, m.classifier)
        return m.get_submodule(name)

    def narrow(self, path: str, choice: Choice) -> nn.Module:
        kernel, expand = choice
        block = self.model.get_submodule(path)
        middle = middle_channels(block, expand)
        view = couple(block, {MIDDLE: middle, SQUEEZED: squeezed_channels(middle)})
        conv: Any = view._modules["conv_dw"]
        if conv.kernel_size[0] != kernel:
            matrices: Any = self.kernel_matrices[path.replace(".", "_")]
            view._modules["conv_dw"] = set_kernel(conv, transform_kernel(conv.weight, kernel, matrices))
        return view

    def channel_order(self, path: str, keep: SearchSpace | None) -> dict[Coupling, Tensor]:
        """Score middle channels by the L1 norm of their consumer, the pointwise projection (OFA).

        Source: released code, ``DynamicMBConvLayer.re_organize_middle_weights``.
        """
        block = self.model.get_submodule(path)
        full = block.conv_pwl.in_channels
        kept = keep.dimensions["expand"].choices[self.position[path]] if keep else ()
        bands = sorted({middle_channels(block, e) for e in kept} - {full})
        order = {MIDDLE: sort_channels(block.conv_pwl.weight.abs().sum((0, 2, 3)), bands)}
        if isinstance(block.se, SqueezeExcite):
            units = sorted({squeezed_channels(b) for b in bands} - {block.se.conv_reduce.out_channels})
            order[SQUEEZED] = sort_channels(block.se.conv_expand.weight.abs().sum((0, 2, 3)), units)
        return order


def mobilenetv3_space(depth: Any, kernel: Any, expand: Any, resolution: Any) -> SearchSpace:
    """Make OFA's space: depth per stage, kernel and expand per block, one resolution."""
    depths = Dimension("depth", depth, len(WIDTHS), "stage")
    stages = [int(choices[-1]) for choices in depths.choices]
    kernels = Dimension("kernel", kernel, sum(stages), "block")
    expands = Dimension("expand", expand, sum(stages), "block")
    return SearchSpace([depths, kernels, expands, Dimension("resolution", resolution)], stages)


def strides_for(reduction: int) -> tuple[int, ...]:
    """Return the strides of stem, first block and stages with this total stride.

    Late maps stay large: on 28-px images stem and third stage first gave +1.4 points over the stem alone, at the same
    time per step on CPUs.

    >>> strides_for(8)
    (1, 1, 2, 2, 1, 1, 2)
    """
    strides, total = list(STRIDES), 32
    for i in (0, 4, 2, 3, 6):
        if total > reduction:
            strides[i], total = 1, total // 2
    if total != reduction:
        raise WsnError(f"reduction must be 1, 2, 4, 8, 16 or 32. Received {reduction!r}; set backbone.reduction=32")
    return tuple(strides)


def _checked_strides(strides: Sequence[int]) -> tuple[int, ...]:
    if len(strides) != len(STRIDES) or not set(strides) <= {1, 2}:
        raise WsnError(
            f"strides must be {len(STRIDES)} of 1 and 2: stem, first block, five stages. Received {list(strides)}; "
            f"published: backbone.strides={list(STRIDES)}"
        )
    return tuple(strides)


def middle_channels(block: Any, expand: float) -> int:
    """Return the number of middle channels of an inverted residual block, a multiple of 8."""
    return make_divisible(round(block.conv_pw.in_channels * expand), 8)


def squeezed_channels(middle: int) -> int:
    """Return the number of squeeze-and-excite units for this many middle channels."""
    return make_divisible(middle // 4, 8)


def _arch_def(space: SearchSpace, strides: tuple[int, ...]) -> list[list[str]]:
    kernels, expands = ([choices[-1] for choices in space.dimensions[n].choices] for n in ("kernel", "expand"))
    arch = [[f"ds_r1_k3_s{strides[1]}_e1_c16_nre"]]
    at = 0
    for stage, blocks in enumerate(space.stages):
        squeeze = "_se0.25" if SQUEEZE[stage] else ""
        rows = []
        for i in range(blocks):
            stride = strides[2 + stage] if i == 0 else 1
            rows.append(
                f"ir_r1_k{kernels[at]}_s{stride}_e{expands[at]}_c{WIDTHS[stage]}{squeeze}_n{ACTIVATIONS[stage]}"
            )
            at += 1
        arch.append(rows)
    arch.append(["cn_r1_k1_s1_c960"])
    return arch


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
        se_layer=partial(SqueezeExcite, gate_layer=nn.Hardsigmoid, force_act_layer=nn.ReLU, rd_round_fn=_round_to_8),
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    model.conv_stem.stride = (strides[0], strides[0])
    return model


def _round_to_8(channels: float) -> int:
    return make_divisible(channels, 8)


SUPERNETS = {"mobilenetv3": MobileNetV3Supernet}
