"""Make supernets by name, as timm makes models."""

import importlib
import pkgutil
from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from wsn import backbones
from wsn.errors import WsnError, listed

if TYPE_CHECKING:
    from wsn.supernet import Supernet


OTHER_NAMES = {"mobilenetv3": "mobilenet", "autoformer_tiny": "autoformer"}
"""Names that are understood beside those of conf/backbone."""


def _supernets() -> dict[str, Callable[..., "Supernet"]]:
    """Collect ``SUPERNETS`` of every module in wsn/backbones; a new file needs no entry elsewhere."""
    found: dict[str, Callable[..., Supernet]] = {}
    for module in pkgutil.iter_modules(backbones.__path__, backbones.__name__ + "."):
        found.update(getattr(importlib.import_module(module.name), "SUPERNETS", {}))
    return found


def create_supernet(name: str, **kwargs: Any) -> "Supernet":
    """Make a supernet by name.

    Args:
        name: one of :func:`list_supernets`, as ``backbone=`` of a command.
        **kwargs: passed to the backbone. A keyword with a dimension's name overrides its choices, e.g.
            ``kernel=[3, 5]`` or ``resolution=range(128, 292, 4)``.

    Raises:
        WsnError: an unknown name or keyword, or choices that make no space.

    >>> import wsn
    >>> net = wsn.create_supernet("mobilenet", num_classes=10, kernel=[3, 5], resolution=32)
    >>> net.space.max().resolution
    32
    """
    supernets = _supernets()
    name = OTHER_NAMES.get(name, name)
    if name not in supernets:
        close = get_close_matches(name, supernets, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise WsnError(f"Unknown supernet {name!r}.{hint} Available: {listed(sorted(supernets))}")
    allowed = accepted_keywords(supernets[name])
    unknown = [k for k in kwargs if k not in allowed]
    if unknown and not _takes_any(supernets[name]):
        raise WsnError(f"{name} has no option {listed(unknown)}. It takes: {listed(allowed, 40)}")
    return supernets[name](**kwargs)


def list_supernets(pattern: str = "*") -> list[str]:
    """Return the names of supernets that match a shell pattern, sorted.

    >>> list_supernets("mobilenet*")
    ['mobilenet']
    """
    return sorted(name for name in _supernets() if fnmatch(name, pattern))


def _takes_any(target: Callable[..., Any]) -> bool:
    """Tell whether a class or function passes other keywords on."""
    import inspect

    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values())


def accepted_keywords(target: Callable[..., Any]) -> list[str]:
    """Return the keyword names that a class or function takes."""
    import inspect

    return [p.name for p in inspect.signature(target).parameters.values() if p.kind is not p.VAR_KEYWORD]
