"""Published latency tables in once-for-all's YAML form."""

from pathlib import Path
from typing import Any

import yaml

from wsn.cost_models.base import CostModel
from wsn.cost_models.macs import Part, cost_table
from wsn.errors import WsnError
from wsn.space import Subnet
from wsn.supernet import Supernet


class OFALatencyTable(CostModel):
    """A latency table of once-for-all or ProxylessNAS, for ``backbone=mobilenet`` or ``proxyless``.

    Its keys describe layers by their shapes, e.g. ``expanded_conv-input:112x112x16-output:56x56x24-expand:48-kernel:3-
    stride:2-idskip:0-se:0-hs:0`` (MobileNetV3: ``expand`` is the number of middle channels) or ``...-expand:3-kernel:3-
    stride:2-idskip:0`` (ProxylessNAS: the expand ratio); values have a ``mean`` in milliseconds.

    Args:
        path: of the YAML file.

    Raises:
        WsnError: the file is missing or of another form; the supernet is not one of these; a layer is not in the table.

    Source: the form, once-for-all's ``LatencyTable`` (github.com/mit-han-lab/once-for-all).
    """

    label = "latency (ms)"

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            table = yaml.safe_load(self.path.read_text("utf-8"))
        except OSError as error:
            raise WsnError(f"Cannot read the latency table {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise WsnError(f"The latency table {path} is not YAML: {str(error).splitlines()[0]}") from error
        try:
            self.means = {str(key): float(value["mean"]) for key, value in table.items()}
        except (AttributeError, TypeError, KeyError) as error:
            raise WsnError(f"{path} is not a latency table of once-for-all: each entry needs a mean") from error
        self.by_middle = any("-se:" in key for key in self.means)

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        table = cost_table(net)
        total = 0.0
        for part in table.parts(subnet):
            for key in self._keys(table.net, part):
                if key not in self.means:
                    raise WsnError(
                        f"The latency table {self.path} has no {key}: it is for other widths, resolutions or choices; "
                        "set backbone.width_mult, backbone.resolution=[...] to the table's"
                    )
                total += self.means[key]
        return total

    def hardware(self) -> dict[str, Any]:
        return {"table": self.path.name}

    def _keys(self, net: Any, part: Part) -> list[str]:
        if part.name == "stem":
            return [f"Conv-input:{_shape(part.shape)}-output:{_shape(part.out_shape)}"]
        module = net.part(part.name, part.choice)
        if part.name == "blocks.0":
            module = module[0]  # a stage of one block
        if part.name == "head":
            return self._head(module, part)
        if not hasattr(module, "conv_dw"):
            raise WsnError(
                "Once-for-all's latency tables are for backbone=mobilenet and backbone=proxyless; this supernet has "
                f"{type(module).__name__}. Make a table with wsn latency-table run=..."
            )
        return [self._block(module, _shape(part.shape), _shape(part.out_shape))]

    def _block(self, block: Any, into: str, out: str) -> str:
        conv = block.conv_dw
        middle = conv.in_channels
        first = getattr(block, "conv_pwl", None)
        ratio = middle // block.conv_pw.in_channels if first is not None else 1
        key = (
            f"expanded_conv-input:{into}-output:{out}-expand:{middle if self.by_middle else ratio}"
            f"-kernel:{conv.kernel_size[0]}-stride:{conv.stride[0]}-idskip:{int(block.has_skip)}"
        )
        if not self.by_middle:
            return key
        squeeze = type(block.se).__name__ != "Identity"
        hard_swish = "swish" in type(block.bn2.act if first is not None else block.bn1.act).__name__.lower()
        return f"{key}-se:{int(squeeze)}-hs:{int(hard_swish)}"

    def _head(self, module: Any, part: Part) -> list[str]:
        size = "x".join(map(str, part.shape[2:]))
        into, classes = part.shape[1], part.out_shape[1]
        convs = [m for m in module.modules() if type(m).__name__ == "Conv2d"]
        first = convs[0].out_channels
        keys = [f"Conv_1-input:{size}x{into}-output:{size}x{first}"]
        if len(convs) == 1:  # ProxylessNAS: pooling is part of the classifier
            return [*keys, f"Logits-input:{size}x{first}-output:{classes}"]
        mixed = convs[1].out_channels
        keys += [f"AvgPool2D-input:{size}x{first}-output:1x1x{first}", f"Conv_2-input:1x1x{first}-output:1x1x{mixed}"]
        return [*keys, f"Logits-input:1x1x{mixed}-output:{classes}"]


def _shape(shape: tuple[int, ...]) -> str:
    _, channels, height, width = shape
    return f"{height}x{width}x{channels}"
