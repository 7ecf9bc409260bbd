"""Loads the network of this folder: ``torch.hub.load("path/of/this/folder", "subnet", source="local")``.

It needs torch, timm and safetensors. ``config.json`` lists every module as [home, class, attributes], parents first;
``model.safetensors`` has the tensors.
"""

import importlib
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

dependencies = ["torch", "timm", "safetensors"]


def subnet(folder: str | Path | None = None) -> torch.nn.Module:
    """Return the network in evaluation mode.

    Args:
        folder: of config.json and model.safetensors; None: this file's.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    tensors = load_file(folder / "model.safetensors")
    sys.path.insert(0, str(folder))  # the few classes that are neither torch's nor timm's
    parts: dict[str, torch.nn.Module] = {}
    for path, (home, name, attributes) in config["modules"].items():
        part = parts[path] = torch.nn.Module.__new__(getattr(importlib.import_module(home), name))
        torch.nn.Module.__init__(part)
        vars(part).update({k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()})
        if path:
            owner, _, last = path.rpartition(".")
            parts[owner].add_module(last, part)
    sys.path.remove(str(folder))
    for path, tensor in tensors.items():
        owner, _, last = path.rpartition(".")
        if path in config["buffers"]:
            parts[owner].register_buffer(last, tensor)
        else:
            parts[owner].register_parameter(last, torch.nn.Parameter(tensor))
    return parts[""].eval()
