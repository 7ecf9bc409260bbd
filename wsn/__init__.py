"""wsn: one network, every size. Train a weight-shared supernet once, cut subnets of any size from it.

>>> import wsn
>>> net = wsn.create_supernet("mobilenet", num_classes=10)
>>> subnet = net.space.subnet(depth=[2, 3, 3, 4, 4], kernel=3, expand=6, resolution=160)
>>> view = net.view(subnet)  # a plain timm module; its parameters are views into net's
>>> wsn.cost(net, net.space.min()).macs < wsn.cost(net, subnet).macs
True
"""

from typing import TYPE_CHECKING

from wsn import _torchvision
from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.backbones.factory import create_supernet, list_supernets
    from wsn.cost_models.macs import Cost, cost
    from wsn.deploy.predictor import ElasticPredictor
    from wsn.errors import WsnError
    from wsn.evaluation.pareto import Front
    from wsn.run.run import Run, open_run
    from wsn.space import Dimension, SearchSpace, Subnet
    from wsn.supernet import Supernet

__version__ = "0.2.0"

_torchvision.install()

__all__ = [
    "Cost",
    "Dimension",
    "ElasticPredictor",
    "Front",
    "Run",
    "SearchSpace",
    "Subnet",
    "Supernet",
    "WsnError",
    "cost",
    "create_supernet",
    "list_supernets",
    "open_run",
]

# Imported on first use: the command line answers --help and config errors before torch is loaded.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "Cost": "wsn.cost_models.macs",
        "Dimension": "wsn.space",
        "ElasticPredictor": "wsn.deploy.predictor",
        "Front": "wsn.evaluation.pareto",
        "SearchSpace": "wsn.space",
        "Subnet": "wsn.space",
        "Supernet": "wsn.supernet",
        "WsnError": "wsn.errors",
        "cost": "wsn.cost_models.macs",
        "create_supernet": "wsn.backbones.factory",
        "list_supernets": "wsn.backbones.factory",
        "open_run": "wsn.run.run",
        "Run": "wsn.run.run",
    },
)
