"""Data: images and text, in an order that a resumed run goes on with."""

from typing import TYPE_CHECKING

from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.data.base import DataModule, ImageDataModule

__all__ = ["DataModule", "ImageDataModule"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "DataModule": "wsn.data.base",
        "ImageDataModule": "wsn.data.base",
    },
)
