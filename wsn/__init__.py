"""wsn: one network, every size. Train a weight-shared supernet once, cut subnets of any size from it.

>>> import wsn
>>> net = wsn.create_supernet("mobilenetv3", num_classes=10)
>>> subnet = net.space.subnet(depth=[2, 3, 3, 4, 4], kernel=3, expand=6, resolution=160)
>>> view = net.view(subnet)  # a plain timm module; its parameters are views into net's
>>> wsn.cost(net, net.space.min()).macs < wsn.cost(net, subnet).macs
True
"""

from typing import TYPE_CHECKING, Any

from wsn import _torchvision

if TYPE_CHECKING:
    from wsn.cost import Cost, cost
    from wsn.dimension import Dimension
    from wsn.elastic_predictor import ElasticPredictor
    from wsn.errors import WsnError
    from wsn.factory import create_supernet, list_supernets
    from wsn.pareto import Front
    from wsn.space import SearchSpace
    from wsn.subnet import Subnet
    from wsn.supernet import Supernet

__version__ = "0.1.0"

_torchvision.install()

# Imported on first use: the command line answers --help and config errors before torch is loaded.
_HOME = {
    "Cost": "wsn.cost",
    "Dimension": "wsn.dimension",
    "ElasticPredictor": "wsn.elastic_predictor",
    "Front": "wsn.pareto",
    "SearchSpace": "wsn.space",
    "Subnet": "wsn.subnet",
    "Supernet": "wsn.supernet",
    "WsnError": "wsn.errors",
    "cost": "wsn.cost",
    "create_supernet": "wsn.factory",
    "list_supernets": "wsn.factory",
}

__all__ = [
    "Cost",
    "Dimension",
    "ElasticPredictor",
    "Front",
    "SearchSpace",
    "Subnet",
    "Supernet",
    "WsnError",
    "cost",
    "create_supernet",
    "list_supernets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wsn' has no attribute {name!r}")
    import sys
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    # Set on the package even where a submodule has the same name (wsn.cost is the function).
    setattr(sys.modules[__name__], name, value)
    return value
