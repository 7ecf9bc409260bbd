"""Any plain timm CNN with elastic width: every layer keeps the first channels.

Source: Slimmable Neural Networks, Yu et al. 2019, arXiv:1812.08928; Universally Slimmable Networks, Yu & Huang 2019,
arXiv:1903.05134.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from timm.layers import BlurPool2d, make_divisible
from timm.models._efficientnet_blocks import InvertedResidual
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsn.backbones.pretrained import check_fit, check_views, create_model
from wsn.errors import WsnError
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Supernet
from wsn.supernet.leaves import Channels, shallow, shallow_tree, take_channels


class SlimmableSupernet(Supernet):
    """A timm CNN with one width for all layers, and elastic input resolution.

    Works for networks of dense and depthwise convolutions, linear layers and batch norms (MobileNetV1 to V3,
    EfficientNet, ResNet ...). A layer of c channels keeps ``make_divisible(width · c, 8)`` of them, the middle of an
    inverted residual the block's expansion of what its input keeps.

    Args:
        model: name of a timm model.
        num_classes: number of classes.
        in_chans: number of input channels.
        width: choices of the width, shares of the largest.
        resolution: choices of the input resolution in pixels.
        fixed: layers that keep all of their output channels, e.g. ``["conv_head", "bn2"]`` as the published narrow
            MobileNetV2s have it; layers that read them are found by their number of input channels.
        pretrained: a timm tag (or True for timm's default), or the path of a state dict.
        **kwargs: passed to ``timm.create_model``, e.g. ``output_stride=8`` for small images.

    Raises:
        WsnError: an unknown model or option, a width above 1, or a layer that cannot be narrowed.
    """

    def __init__(
        self,
        model: str = "mobilenetv2_100",
        num_classes: int = 1000,
        in_chans: int = 3,
        width: Any = (0.35, 0.5, 0.75, 1.0),
        resolution: Any = 224,
        fixed: Sequence[str] = (),
        pretrained: Any = False,
        **kwargs: Any,
    ):
        widths = Dimension("width", width)
        if widths.choices[0][-1] != 1:
            raise WsnError(f"width: choices are shares of the largest and end at 1. Received {list(widths.choices[0])}")
        network: Any = create_model(model, pretrained, num_classes, in_chans, **kwargs)
        sizes = Dimension("resolution", resolution)
        check_fit(model, network, in_chans, sizes.choices[0])
        space = SearchSpace([widths, sizes])
        super().__init__(network, space, in_chans, [""])
        unknown = [name for name in fixed if name not in dict(network.named_modules())]
        if unknown:
            raise WsnError(f"fixed: {model} has no layer {unknown[0]!r}; see print(timm.create_model({model!r}))")
        first, last = network.pretrained_cfg["first_conv"], network.pretrained_cfg["classifier"]
        self.keep_out = {last, *fixed}
        layers = dict(_narrowable(network))
        fixed_widths = {_channels(layers[name])[1] for name in fixed}
        self.keep_in = {first} | {name for name, leaf in layers.items() if _channels(leaf)[0] in fixed_widths}
        smallest = int(sizes.choices[0][0])
        subnets = [space.subnet(width=width, resolution=smallest) for width in widths.choices[0][:-1]]
        check_views(
            model, self, subnets, "e.g. mobilenetv2_100 or resnet18, or backbone=timm_cnn, which narrows inside blocks"
        )

    sorts_channels = False  # they are shared by layers across the whole network

    def reads(self, path: str) -> Reads:
        return [("width", 0)]

    def kept(self, subnet: Subnet) -> list[str]:
        return [""]

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        return [*self.blocks(subnet).items()]

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        width = choice[0]
        if width == 1:
            return shallow_tree(self.model)
        return self._narrow(self.model, "", lambda channels: min(channels, make_divisible(width * channels, 8)))

    def _narrow(self, module: Any, path: str, narrowed: Callable[[int], int]) -> nn.Module:
        if isinstance(module, nn.Conv2d | nn.Linear | _BatchNorm):
            into, out = (Channels(narrowed(channels)) for channels in _channels(module))
            keep_out = path in self.keep_out
            if isinstance(module, nn.Conv2d | nn.Linear):
                into_index = None if path in self.keep_in else into
                return take_channels(module, None if keep_out else out, into_index)
            return take_channels(module, None if keep_out else out)
        if isinstance(module, BlurPool2d) and module.channels:
            return _narrow_blur(module, narrowed(module.channels))
        if isinstance(module, InvertedResidual):
            narrowed = _middle(module.conv_pw, narrowed)
        clone = shallow(module)
        for name, child in module._modules.items():
            if child is not None:
                clone._modules[name] = self._narrow(child, f"{path}.{name}" if path else name, narrowed)
        return clone

    def _copy(self, module: nn.Module, path: str, kept: dict[str, BlockChoice]) -> nn.Module:
        return self.narrow("", kept[""])


def _narrow_blur(module: Any, channels: int) -> nn.Module:
    """Return a blur, which is the same for each channel, of the first channels."""
    clone: Any = shallow(module)
    clone._buffers["filt"] = module.filt[:channels]
    clone.channels = channels
    return clone


def _middle(expansion: nn.Conv2d, narrowed: Callable[[int], int]) -> Callable[[int], int]:
    """Return the narrowing inside an inverted residual: its middle is a multiple of its narrow input."""
    full, into = expansion.out_channels, expansion.in_channels
    middle = min(full, make_divisible(narrowed(into) * full / into, 8))
    return lambda channels: middle if channels == full else narrowed(channels)


def _narrowable(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers that have channels, after looking that each can be narrowed."""
    for name, leaf in network.named_modules():
        if isinstance(leaf, nn.Conv2d | nn.Linear | _BatchNorm):
            if isinstance(leaf, nn.Conv2d) and leaf.groups not in (1, leaf.in_channels):
                raise WsnError(f"{name}: a grouped convolution cannot be narrowed; take another backbone.model")
            yield name, leaf
        elif next(leaf.parameters(recurse=False), None) is not None:
            raise WsnError(f"{name}: {type(leaf).__name__} cannot be narrowed; take another backbone.model")


def _channels(leaf: Any) -> tuple[int, int]:
    """Return the input and output channels of a layer."""
    if isinstance(leaf, nn.Linear):
        return leaf.in_features, leaf.out_features
    if isinstance(leaf, nn.Conv2d):
        return leaf.in_channels, leaf.out_channels
    return leaf.num_features, leaf.num_features


SUPERNETS = {
    "slimmable": SlimmableSupernet,
    "slimmable_mobilenetv2": partial(SlimmableSupernet, fixed=("conv_head", "bn2")),
}
