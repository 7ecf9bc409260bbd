"""Let a CPU-only torch import torchvision.

The registry's torchvision wheel is built for CUDA. Beside a CPU-only torch its C++ library cannot be loaded, so the
operators it would define are missing and ``import torchvision`` raises "operator torchvision::nms does not exist";
timm, torchmetrics and lightning import torchvision. After ``import wsn`` the first import of torchvision defines the
schemas of those operators before (nothing here calls them). On a healthy installation nothing changes. Images are
decoded by PIL.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list = []  # the schemas live as long as the Library object


class _RepairFirst(MetaPathFinder):
    """Finds nothing itself: runs the repair when torchvision is imported for the first time."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            repair()
        return  # the ordinary finders go on


def install() -> None:
    """Repair torchvision when it is first imported; costs nothing until then."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _RepairFirst) for f in sys.meta_path):
        sys.meta_path.insert(0, _RepairFirst())


def repair() -> None:
    """Define torchvision's missing operators, where its C++ library cannot be loaded."""
    spec = importlib.util.find_spec("torchvision")
    if _libraries or spec is None or not spec.submodule_search_locations:
        return
    import torch

    try:
        for library in sorted(Path(spec.submodule_search_locations[0]).glob("_C*.so")):
            torch.ops.load_library(str(library))
    except OSError:
        schemas = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            schemas.define(name + _SCHEMA)
        _libraries.append(schemas)
