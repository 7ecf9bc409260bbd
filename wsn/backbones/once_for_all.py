"""Once-for-all's kind of space on timm's inverted residuals: elastic depth, kernel size, expand ratio and resolution.

Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, §3 and §4.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from wsn.backbones.inverted_residual import (
    MIDDLE,
    SQUEEZED,
    kernel_matrices,
    round_to_8,
    squeezed_channels,
    with_kernel,
)
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet
from wsn.supernet.couple import Coupling, couple


class OnceForAllSupernet(Supernet):
    """A timm network of inverted residuals whose stages after the first block are elastic; widths are fixed.

    The learned matrices that shrink kernels 7 → 5 → 3 are parameters of the supernet (identity at start: a centre
    crop), never of a subnet.

    Args:
        model: the largest network; its elastic stages are ``blocks[1:]``.
        space: of :func:`once_for_all_space`.
        in_chans: number of input channels.
    """

    def __init__(self, model: nn.Module, space: SearchSpace, in_chans: int):
        elastic = [f"blocks.{s + 1}.{i}" for s, n in enumerate(space.stages) for i in range(n)]
        super().__init__(model, space, in_chans, elastic)
        self.position = {path: i for i, path in enumerate(elastic)}
        self.kernel_matrices = kernel_matrices(elastic, space.dimensions["kernel"].choices)

    def reads(self, path: str) -> Reads:
        return [(name, self.position[path]) for name in ("kernel", "expand")] if path else []

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            return {}
        block = self.model.get_submodule(path)
        middle = middle_channels(block, choice[1])
        squeeze = {} if isinstance(block.se, nn.Identity) else {SQUEEZED: squeezed_channels(middle)}
        return {MIDDLE: middle, **squeeze}

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        view = couple(self.model.get_submodule(path), self.widths(path, choice))
        return with_kernel(view, choice[0], self.kernel_matrices[path.replace(".", "_")])

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        return [("stem", ()), ("blocks.0", ()), *self.blocks(subnet).items(), ("head", ())]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        m = self.model
        if name == "stem":
            return nn.Sequential(m.conv_stem, m.bn1)
        if name == "head":
            return self.head()
        return m.get_submodule(name)

    def head(self) -> nn.Module:
        """Return what follows the elastic stages as one module."""
        m: Any = self.model
        return nn.Sequential(m.conv_head, m.bn2, m.global_pool, m.classifier)


def once_for_all_space(
    depth: Any, kernel: Any, expand: Any, resolution: Any, stages: int, fixed: int = 0
) -> SearchSpace:
    """Make the space: depth per stage, kernel and expand per block, one resolution.

    Args:
        depth: choices of the number of blocks.
        kernel: choices of the kernel size.
        expand: choices of the expand ratio.
        resolution: choices of the input resolution.
        stages: number of stages.
        fixed: number of further stages that always have one block.
    """
    depths = Dimension("depth", depth, stages + (fixed if _is_nested(depth, stages + fixed) else 0), "stage")
    if len(depths) == stages and fixed:
        depths = Dimension("depth", [list(c) for c in depths.choices] + [[1]] * fixed, stages + fixed, "stage")
    blocks = [int(choices[-1]) for choices in depths.choices]
    kernels = Dimension("kernel", kernel, sum(blocks), "block")
    expands = Dimension("expand", expand, sum(blocks), "block")
    return SearchSpace([depths, kernels, expands, Dimension("resolution", resolution)], blocks)


def elastic_stages(
    space: SearchSpace, widths: Sequence[int], strides: Sequence[int], suffixes: Sequence[str]
) -> list[list[str]]:
    """Return the elastic stages of the largest network in timm's notation of architectures.

    Args:
        space: whose largest choices are meant.
        widths: output channels of each stage.
        strides: of the first block of each stage.
        suffixes: what else the blocks of each stage have (squeeze-and-excite, activation).
    """
    kernels, expands = ([choices[-1] for choices in space.dimensions[n].choices] for n in ("kernel", "expand"))
    arch, at = [], 0
    for stage, blocks in enumerate(space.stages):
        rows = []
        for i in range(blocks):
            stride = strides[stage] if i == 0 else 1
            rows.append(f"ir_r1_k{kernels[at]}_s{stride}_e{expands[at]}_c{widths[stage]}{suffixes[stage]}")
            at += 1
        arch.append(rows)
    return arch


def _is_nested(depth: Any, length: int) -> bool:
    return not isinstance(depth, int) and len(depth) == length and not isinstance(depth[0], int | float)


def middle_channels(block: Any, expand: float) -> int:
    """Return the number of middle channels of an inverted residual block, a multiple of 8."""
    return round_to_8(round(block.conv_pw.in_channels * expand))
