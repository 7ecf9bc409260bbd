"""Backbones: the largest networks, and the search spaces in them."""

from typing import TYPE_CHECKING

from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.backbones.factory import create_supernet, list_supernets
    from wsn.supernet import Supernet

__all__ = ["Supernet", "create_supernet", "list_supernets"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Supernet": "wsn.supernet",
        "create_supernet": "wsn.backbones.factory",
        "list_supernets": "wsn.backbones.factory",
    },
)
