"""Let a CPU-only torch import torchvision.

The registry's torchvision wheel is built for CUDA. Beside a CPU-only torch its C++ library cannot be loaded, so the
operators it would define are missing and ``import torchvision`` raises "operator torchvision::nms does not exist";
timm, torchmetrics and lightning import torchvision. This module, imported before torchvision, then defines the schemas of
those operators (nothing here calls them). On a healthy installation it does nothing. Images are decoded by PIL.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: torch.library.Library | None = None  # the schemas live as long as this object


def repair() -> None:
    """Define torchvision's missing operators, where its C++ library cannot be loaded."""
    global _library
    spec = importlib.util.find_spec("torchvision")
    if _library is not None or spec is None or not spec.submodule_search_locations:
        return
    libraries = sorted(Path(spec.submodule_search_locations[0]).glob("_C*.so"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(name + _SCHEMA)


repair()
