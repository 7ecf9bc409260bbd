"""Methods: what each subnet of a step learns from, and in which phases."""

from typing import TYPE_CHECKING

from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.methods.base import Method, Pass

__all__ = ["Method", "Pass"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Method": "wsn.methods.base",
        "Pass": "wsn.methods.base",
    },
)
