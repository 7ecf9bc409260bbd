"""Once-for-all's ResNet-50-D space on timm's ResNet.

Source: Once-for-All, Cai et al. 2020, arXiv:1908.09791, released code ``ofa_resnets.py``; ResNet-D, He et al. 2019,
arXiv:1812.01187.
"""

from typing import Any

from timm.layers import DropPath
from timm.models.resnet import Bottleneck, ResNet, downsample_avg
from torch import Tensor, nn

from wsn.backbones.inverted_residual import round_to_8, strides_for
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet
from wsn.supernet.couple import Coupling

STAGE_WIDTHS = (256, 512, 1024, 2048)
STEM_WIDTH = 64
STEM_BLOCK = "conv1.3"
STRIDES = (2, 2, 1, 2, 2, 2)  # stem, pooling, four stages

MIDDLES = (
    Coupling(("conv1", "bn1"), ("conv2",)),  # the 3×3 convolution is dense: its inputs and outputs sort apart
    Coupling(("conv2", "bn2"), ("conv3",)),
)


class StemResidual(nn.Module):
    """OFA's skippable stem layer: (B, C, H, W) plus a 3×3 convolution, norm and ReLU of it."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the layer to its input."""
        return x + self.act(self.bn(self.conv(x)))


class ResNet50Supernet(Supernet):
    """ResNet-50-D with elastic depth, expand ratio (of the bottlenecks), width and input resolution.

    The largest network is timm's ``ResNet`` with deep stem and average-pooled shortcuts, in whose stem the middle
    convolution is residual.

    Args:
        num_classes: number of classes.
        in_chans: number of input channels.
        width_mult: multiplier of all widths; 1.0 is published.
        depth: choices of: the stem's residual layer (0 or 1), then the number of blocks of each of the four stages.
        expand: choices of a block's middle channels, as a share of its output channels.
        width: choices of the width multiplier of: the stem's first layers, its last, the four stages.
        resolution: choices of the input resolution in pixels.
        reduction: total stride; 32 as published, less for small images (first without the stem's).
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from the first.

    Raises:
        WsnError: an empty space, or another reduction.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.0,
        depth: Any = ([0, 1], [2, 3, 4], [2, 3, 4], [4, 5, 6], [2, 3, 4]),
        expand: Any = (0.2, 0.25, 0.35),
        width: Any = (0.65, 0.8, 1.0),
        resolution: Any = range(128, 225, 4),
        reduction: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        stages = len(STAGE_WIDTHS)
        depths = Dimension("depth", depth, 1 + stages, "stage", offset=1)
        blocks = [int(choices[-1]) for choices in depths.choices[1:]]
        dimensions = [
            depths,
            Dimension("expand", expand, sum(blocks), "block"),
            Dimension("width", width, 2 + stages, "stage", offset=2),
            Dimension("resolution", resolution),
        ]
        space = SearchSpace(dimensions, blocks)
        base_widths = [STEM_WIDTH * width_mult, *(w * width_mult for w in STAGE_WIDTHS)]
        largest = space.max()
        channels = _channels(base_widths, largest["width"])
        model = _largest(largest, channels, num_classes, in_chans, reduction, drop_rate, drop_path_rate)
        elastic = [f"layer{s + 1}.{i}" for s, n in enumerate(blocks) for i in range(n)]
        stem = [STEM_BLOCK] if depths.choices[0][-1] else []
        super().__init__(model, space, in_chans, [*stem, *elastic])
        self.base_widths = base_widths
        self.position = {path: i for i, path in enumerate(elastic)}

    def reads(self, path: str) -> Reads:
        last = 1 + len(STAGE_WIDTHS)
        if not path:
            return [("width", 0), ("width", 1), ("width", last)]
        if path == STEM_BLOCK:
            return [("width", 0)]
        stage, i = _place(path)
        return [("expand", self.position[path]), ("width", stage + (i > 0)), ("width", stage + 1)]

    def kept(self, subnet: Subnet) -> list[str]:
        stem = [STEM_BLOCK] if subnet["depth"][0] else []
        return stem + [f"layer{s + 1}.{i}" for s, i, _ in self.space.kept(subnet)]

    def channels(self, position: int, width: float) -> int:
        """Return the channels of the stem's first layers (0), its last (1) or a stage, at a width multiplier."""
        return _channels(self.base_widths, [width] * len(self.space.dimensions["width"]))[position]

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            first, stem, last = choice
            end = len(STAGE_WIDTHS)
            return {
                Coupling(("conv1.0", "conv1.1"), ("conv1.4",), group="stem0"): self.channels(0, first),
                Coupling(("conv1.4", "bn1"), group="stem1"): self.channels(1, stem),
                Coupling(into=("fc",), group=f"stage{end}"): self.channels(1 + end, last),
            }
        if path == STEM_BLOCK:
            return {Coupling(("conv", "bn"), ("conv",), group="stem0"): self.channels(0, choice[0])}
        stage, i = _place(path)
        expand, into, out = choice[0], self.channels(stage + (i > 0), choice[1]), self.channels(stage + 1, choice[2])
        before = f"stage{stage}" if i else f"stage{stage - 1}" if stage > 1 else "stem1"
        middle = round_to_8(round(out * expand))
        return {
            Coupling(into=("conv1", "downsample.1"), group=before): into,
            **dict.fromkeys(MIDDLES, middle),
            Coupling(("conv3", "bn3", "downsample.1", "downsample.2"), group=f"stage{stage}"): out,
        }

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        around = self.outside(subnet)
        blocks = self.blocks(subnet)
        stem = [(STEM_BLOCK, blocks.pop(STEM_BLOCK))] if STEM_BLOCK in blocks else []
        return [("stem", around), *stem, ("pool", around), *blocks.items(), ("head", around)]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        m: Any = self.around(choice)
        stem = m.conv1._modules
        if name == "stem":
            return nn.Sequential(stem["0"], stem["1"], stem["2"])
        if name == "pool":
            return nn.Sequential(stem["4"], m.bn1, m.act1, m.maxpool)
        return nn.Sequential(m.global_pool, m.fc)


def _place(path: str) -> tuple[int, int]:
    """Return the stage of a block, from 1, and its index there."""
    stage, _, i = path.removeprefix("layer").partition(".")
    return int(stage), int(i)


def _channels(base: list[float], width: Any) -> list[int]:
    """Return the channels of the stem's first layers, its last layer and the stages for width multipliers."""
    stem = [round_to_8(base[0] * w) for w in width[:2]]
    return [round_to_8(stem[0] // 2), stem[1], *(round_to_8(b * w) for b, w in zip(base[1:], width[2:]))]


def _largest(
    largest: Subnet,
    channels: list[int],
    num_classes: int,
    in_chans: int,
    reduction: int,
    drop_rate: float,
    drop_path_rate: float,
) -> Any:
    first, stem, *stages = channels
    model: Any = ResNet(
        Bottleneck,  # type: ignore[arg-type]
        (1, 1, 1, 1), num_classes, in_chans, channels=tuple(w // 4 for w in stages), stem_width=stem // 2,
        stem_type="deep", avg_down=True, drop_rate=drop_rate,
    )  # fmt: skip
    strides = strides_for(reduction, STRIDES, dropped=(0, 1, 3, 4, 5))
    model.conv1 = nn.Sequential(
        nn.Conv2d(in_chans, first, 3, stride=strides[0], padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
        StemResidual(first),
        nn.Conv2d(first, stem, 3, padding=1, bias=False),
    )
    model.bn1 = nn.BatchNorm2d(stem)
    if strides[1] == 1:
        model.maxpool = nn.Identity()
    into, at, total = stem, 0, sum(largest["depth"][1:])
    for stage, (out, blocks) in enumerate(zip(stages, largest["depth"][1:])):
        made = []
        for i in range(blocks):
            stride = strides[2 + stage] if i == 0 else 1
            rate = drop_path_rate * at / max(total - 1, 1)
            made.append(_bottleneck(into, out, round_to_8(round(out * largest["expand"][at])), stride, i == 0, rate))
            into, at = out, at + 1
        setattr(model, f"layer{stage + 1}", nn.Sequential(*made))
    model.init_weights(zero_init_last=False)
    return model


def _bottleneck(into: int, out: int, middle: int, stride: int, first: bool, drop_path_rate: float) -> Bottleneck:
    planes = out // Bottleneck.expansion
    return Bottleneck(
        into,
        planes,
        stride=stride,
        downsample=downsample_avg(into, out, 1, stride) if first else None,
        base_width=64 * (middle + 0.5) / planes,  # type: ignore[arg-type]  # timm rounds the middle channels down
        drop_path=DropPath(drop_path_rate) if drop_path_rate else None,
    )


SUPERNETS = {"resnet50": ResNet50Supernet}
