"""What every script of wsn imports, once for all processes that the tests fork; see :mod:`helpers.scripts`."""

import contextlib
import importlib
import logging
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the networks are small, and several processes share the machine

for name in (
    "torch", "wsn.run.train", "timm", "wandb", "matplotlib.pyplot", "plotly.graph_objects", "transformers",
    "wsn.run.evaluate", "wsn.run.search", "wsn.run.export", "wsn.run.sweep", "wsn.backbones",
    "wsn.samplers", "wsn.methods", "wsn.data", "wsn.callbacks", "wsn.routers", "wsn.providers",
    "wsn.callbacks.subnet_evaluation", "wsn.callbacks.terminal_front",
):  # fmt: skip
    with contextlib.suppress(ImportError):  # what is missing, the script will name
        importlib.import_module(name)

with contextlib.suppress(ImportError):
    from hydra.core.plugins import Plugins

    Plugins.instance()  # a search of all installed packages

for name in ("lightning", "lightning.pytorch", "lightning.fabric"):  # as after Hydra, which a script imports before
    logging.getLogger(name).handlers.clear()
    logging.getLogger(name).propagate = True
