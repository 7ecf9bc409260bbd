"""Loads the network of this folder: ``torch.hub.load("path/of/this/folder", "subnet", source="local")``.

It needs torch, timm and safetensors. ``config.json`` lists every module as [home, class, attributes], parents first;
``model.safetensors`` has the tensors.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

dependencies = ["torch", "timm", "safetensors"]


HOMES = ("torch", "timm")
"""Packages whose modules a config.json may name."""


def subnet(
    folder: str | Path | None = None, trust: bool = False, homes: Mapping[str, str] | None = None
) -> torch.nn.Module:
    """Return the network in evaluation mode.

    Args:
        folder: of config.json and model.safetensors; None: this file's, whose code runs already.
        trust: whether code beside the network may run: the few classes that are neither torch's nor timm's.
        homes: further modules that may be named → what is imported in their place.

    Raises:
        PermissionError: the network needs code of the folder, or names something else.
    """
    trust = trust or folder is None
    folder = Path(__file__).parent if folder is None else Path(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    tensors = load_file(folder / "model.safetensors")
    parts: dict[str, torch.nn.Module] = {}
    beside = [Path(name).stem for name in config.get("code", [])]
    for path, (home, name, attributes) in config["modules"].items():
        module = (homes or {}).get(home, home)
        if home not in (homes or {}) and home.partition(".")[0] not in HOMES:
            if home not in beside and not trust:
                raise PermissionError(f"config.json names {home}.{name}, which is not of {' or '.join(HOMES)}")
            if not trust:
                raise PermissionError(
                    f"{home}.py in {folder} would run, as a part of this network. Look at it, then load with trust=True"
                )
            kind = _class_beside(folder, home, name)  # or of a module that is installed
        else:
            kind = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
            raise PermissionError(f"config.json names {home}.{name}, which is no torch.nn.Module")
        part = parts[path] = torch.nn.Module.__new__(kind)
        torch.nn.Module.__init__(part)
        vars(part).update({k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()})
        if path:
            owner, _, last = path.rpartition(".")
            parts[owner].add_module(last, part)
    for path, tensor in tensors.items():
        owner, _, last = path.rpartition(".")
        if path in config["buffers"]:
            parts[owner].register_buffer(last, tensor)
        else:
            parts[owner].register_parameter(last, torch.nn.Parameter(tensor))
    return parts[""].eval()


def _class_beside(folder: Path, home: str, name: str) -> Any:
    """Return a class of a source file beside the network."""
    sys.path.append(str(folder))
    try:
        return getattr(importlib.import_module(home), name)
    finally:
        sys.path.remove(str(folder))
