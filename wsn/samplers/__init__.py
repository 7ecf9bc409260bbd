"""Samplers: which subnets each optimizer step trains."""

from typing import TYPE_CHECKING

from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.samplers.base import Draw, Sampler

__all__ = ["Draw", "Sampler"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Draw": "wsn.samplers.base",
        "Sampler": "wsn.samplers.base",
    },
)
