"""Any timm CNN of residual blocks: elastic middle widths, depth of stages and resolution.

EfficientNet, MobileNetV2 to V4, RegNet, ResNet and ConvNeXt families. The residual streams keep their widths, so that
pretrained weights stay exact and nothing but the blocks is narrowed: for each class of block, its middle is declared
once below.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from timm.models import _efficientnet_blocks as efficientnet
from timm.models import convnext, regnet, resnet
from torch import Tensor, nn

from wsn.backbones.inverted_residual import MIDDLE, SQUEEZED, round_to_8
from wsn.backbones.pretrained import check_fit, check_views, create_model
from wsn.errors import WsnError
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet
from wsn.supernet.couple import Coupling, Leaf


@dataclass(frozen=True)
class Kind:
    """How one class of block is narrowed.

    Args:
        couplings: block → coupling → units of the largest.
        skips: block → whether its input can take its place.
    """

    couplings: Callable[[Any], dict[Coupling, int]]
    skips: Callable[[Any], bool]


def _inverted_residual(block: Any) -> dict[Coupling, int]:
    squeeze = {} if isinstance(block.se, nn.Identity) else {SQUEEZED: block.se.conv_reduce.out_channels}
    return {MIDDLE: block.conv_pwl.in_channels, **squeeze}


def _edge_residual(block: Any) -> dict[Coupling, int]:
    middle = Coupling(("conv_exp", "bn1", "se.conv_expand"), ("se.conv_reduce", "conv_pwl"), scored_by=("conv_pwl",))
    squeeze = {} if isinstance(block.se, nn.Identity) else {SQUEEZED: block.se.conv_reduce.out_channels}
    return {middle: block.conv_pwl.in_channels, **squeeze}


def _universal(block: Any) -> dict[Coupling, int]:
    middle = Coupling(
        ("pw_exp.conv", "pw_exp.bn", "dw_mid.conv", "dw_mid.bn", "se.conv_expand"),
        ("se.conv_reduce", "pw_proj.conv"),
        scored_by=("pw_proj.conv",),
    )
    return {middle: block.pw_proj.conv.in_channels}


def _regnet(block: Any) -> dict[Coupling, int]:
    conv = block.conv2.conv
    size = conv.out_channels // conv.groups  # whole groups
    middle = Coupling(
        tuple(Leaf(n, size) for n in ("conv1.conv", "conv1.bn", "conv2.conv", "conv2.bn", "se.fc2")),
        (Leaf("se.fc1", size), Leaf("conv3.conv", size)),
        scored_by=("conv3.conv",),
    )
    return {middle: conv.groups}


def _resnet_bottleneck(block: Any) -> dict[Coupling, int]:
    if block.conv2.groups > 1:
        size = block.conv2.out_channels // block.conv2.groups
        leaves = tuple(Leaf(n, size) for n in ("conv1", "bn1", "conv2", "bn2"))
        return {Coupling(leaves, (Leaf("conv3", size),)): block.conv2.groups}
    first, second = Coupling(("conv1", "bn1"), ("conv2",)), Coupling(("conv2", "bn2"), ("conv3",))
    return {first: block.conv2.in_channels, second: block.conv3.in_channels}


def _basic_block(block: Any) -> dict[Coupling, int]:
    return {Coupling(("conv1", "bn1"), ("conv2",)): block.conv2.in_channels}


def _convnext(block: Any) -> dict[Coupling, int]:
    hidden = Coupling(("mlp.fc1", "mlp.grn.weight", "mlp.grn.bias"), ("mlp.fc2",))
    fc2 = block.mlp.fc2
    return {hidden: fc2.in_features if isinstance(fc2, nn.Linear) else fc2.in_channels}


def _has_skip(block: Any) -> bool:
    return block.has_skip


KINDS: dict[type, Kind] = {
    efficientnet.InvertedResidual: Kind(_inverted_residual, _has_skip),
    efficientnet.EdgeResidual: Kind(_edge_residual, _has_skip),
    efficientnet.UniversalInvertedResidual: Kind(_universal, _has_skip),
    efficientnet.DepthwiseSeparableConv: Kind(lambda block: {}, _has_skip),
    regnet.Bottleneck: Kind(_regnet, lambda block: isinstance(block.downsample, nn.Identity)),
    resnet.Bottleneck: Kind(_resnet_bottleneck, lambda block: block.downsample is None),
    resnet.BasicBlock: Kind(_basic_block, lambda block: block.downsample is None),
    convnext.ConvNeXtBlock: Kind(_convnext, lambda block: isinstance(block.shortcut, nn.Identity)),
}


class TimmCNNSupernet(Supernet):
    """A timm CNN by name, with elastic depth of its stages and middle widths of its blocks.

    Args:
        model: name of a timm model, e.g. ``efficientnet_lite0``, ``regnety_002``, ``convnext_atto``.
        num_classes: number of classes.
        in_chans: number of input channels.
        depth: choices of the number of blocks, per stage; by default from half to all. Blocks that change channels
            or stride stay.
        expand: choices of a block's middle channels as a share of the largest network's, per block.
        resolution: choices of the input resolution in pixels; by default the model's own.
        pretrained: a timm tag (or True for timm's default), or the path of a state dict.
        **kwargs: passed to ``timm.create_model``, e.g. ``drop_path_rate`` or ``output_stride``.

    Raises:
        WsnError: an unknown model or one without blocks that wsn narrows, or choices that make no space.
    """

    def __init__(
        self,
        model: str = "efficientnet_lite0",
        num_classes: int = 1000,
        in_chans: int = 3,
        depth: Any = None,
        expand: Any = (0.5, 0.75, 1.0),
        resolution: Any = None,
        pretrained: Any = False,
        **kwargs: Any,
    ):
        network = create_model(model, pretrained, num_classes, in_chans, **kwargs)
        stages = [list(blocks) for _, blocks in groupby(_blocks(network), lambda path: path.rpartition(".")[0])]
        if not stages:
            raise WsnError(
                f"{model} ({type(network).__name__}) has no blocks that wsn narrows. Take an EfficientNet, MobileNetV2 "
                "to V4, RegNet, ResNet or ConvNeXt, e.g. backbone.model=efficientnet_lite0, or backbone=vit for a ViT"
            )
        counts = [len(paths) for paths in stages]
        least = [_least_depth(network, paths) for paths in stages]
        choices = [list(range(max(low, (n + 1) // 2), n + 1)) for low, n in zip(least, counts)]
        depths = Dimension("depth", choices if depth is None else depth, len(stages), "stage")
        _check_depth(model, depths, least, counts)
        elastic = [path for paths in stages for path in paths]
        expands = Dimension("expand", _expand(network, elastic, expand), sum(counts), "block")
        if any(c[-1] != 1 for c in expands.choices):
            raise WsnError(
                f"expand: choices are shares of the largest and end at 1. Received {expand}; set e.g. "
                "backbone.expand=[0.5,1.0]"
            )
        sizes = Dimension("resolution", resolution or network.pretrained_cfg["input_size"][-1])
        check_fit(model, network, in_chans, sizes.choices[0])
        super().__init__(network, SearchSpace([depths, expands, sizes], counts), in_chans, elastic)
        blocks = ((path, network.get_submodule(path)) for path in elastic)
        self._full = {path: _couplings(block) for path, block in blocks}
        self._shapes: dict[int, dict[str, tuple[torch.Size, torch.Size]]] = {}
        check_views(model, self, [self.space.min()], "e.g. efficientnet_lite0, regnety_002 or resnet18")

    def reads(self, path: str) -> Reads:
        return [("expand", self.paths.index(path))] if path else []

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            return {}
        return {coupling: _share(coupling, count, choice[0]) for coupling, count in self._full[path].items()}

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        return [("rest", (subnet["resolution"],)), *self.blocks(subnet).items()]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        """Return the network with holes in the place of its blocks."""
        view = self._copy(self.model, "", {path: (1.0,) for path in self.paths})
        for path, (_, out) in self._block_shapes(choice[0]).items():
            parent, _, name = path.rpartition(".")
            view.get_submodule(parent)._modules[name] = _Hole(out)
        return view

    def segment_input(self, name: str, subnet: Subnet) -> Tensor | None:
        if name not in self.elastic:
            return None
        return torch.empty(self._block_shapes(subnet["resolution"])[name][0], device="meta")

    def _block_shapes(self, resolution: int) -> dict[str, tuple[torch.Size, torch.Size]]:
        """Return the input and output shape of each block: the same in every subnet of this resolution."""
        if resolution not in self._shapes:
            shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
            view = self._copy(self.model, "", {path: (1.0,) for path in self.paths})
            for path in self.paths:
                view.get_submodule(path).register_forward_hook(_recorder(shapes, path))
            x = torch.empty(1, self.in_chans, resolution, resolution, device=next(self.parameters()).device)
            with torch.no_grad():
                view.eval()(x)
            self._shapes[resolution] = shapes
        return self._shapes[resolution]


class _Hole(nn.Module):
    """Puts out zeros of a shape: a block that costs nothing."""

    def __init__(self, shape: torch.Size):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.shape)


def _recorder(shapes: dict, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def record(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        shapes[path] = args[0].shape, out.shape

    return record


def _blocks(network: nn.Module) -> Iterator[str]:
    for path, module in network.named_modules():
        if type(module) in KINDS:
            yield path


def _kind(block: nn.Module) -> Kind:
    return KINDS[type(block)]


def _expand(network: nn.Module, paths: list[str], expand: Any) -> list[Any]:
    """Return the choices of each block: of those without a middle (depthwise separable ones) only the whole."""
    single = [expand] if isinstance(expand, int | float) else list(expand)
    if any(not isinstance(choice, int | float) for choice in single):
        return single
    blocks = (network.get_submodule(path) for path in paths)
    return [single if _couplings(block) else [1.0] for block in blocks]


def _couplings(block: nn.Module) -> dict[Coupling, int]:
    try:
        return _kind(block).couplings(block)
    except AttributeError as error:
        raise WsnError(
            f"A block of this model is a {type(block).__name__} unlike the usual ones ({error}), which wsn does not "
            "narrow. Take another backbone.model, e.g. efficientnet_lite0"
        ) from error


def _least_depth(network: nn.Module, paths: list[str]) -> int:
    """Return the number of blocks of a stage that stay: up to the last that changes channels or stride."""
    blocks = [network.get_submodule(path) for path in paths]
    return max([1, *(i + 1 for i, block in enumerate(blocks) if not _kind(block).skips(block))])


def _check_depth(model: str, depths: Dimension, least: list[int], counts: list[int]) -> None:
    for stage, (choices, low, count) in enumerate(zip(depths.choices, least, counts)):
        if choices[0] < low or choices[-1] != count:
            raise WsnError(
                f"depth: stage {stage} of {model} keeps {low} to {count} blocks, and the largest network all {count}. "
                f"Received {list(choices)}; leave backbone.depth out for a default"
            )


def _share(coupling: Coupling, full: int, share: float) -> int:
    """Return a share of a coupling's units: a multiple of 8 channels where units are channels."""
    if share == 1:
        return full
    groups = any(isinstance(member, Leaf) and member.unit > 1 for member in coupling.out)
    if groups or coupling == SQUEEZED:
        return max(1, round(full * share))
    return min(full, round_to_8(full * share))


SUPERNETS = {"timm_cnn": TimmCNNSupernet}
