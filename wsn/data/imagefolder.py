"""Images in folders, one per class: ImageNet, or a data set of your own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from timm.data import create_transform
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from wsn.data.base import ImageDataModule
from wsn.errors import WsnError, listed


class ImageFolderData(ImageDataModule):
    """``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``.

    The held-out split for selecting subnets comes out of ``train``; ``test``, or where there is none ``val``, is
    the test set, as is usual for ImageNet. Augmentation is timm's.

    Args:
        root: folder with ``train`` and ``val`` (or ``test``).
        crop_scale_min: smallest area of a random resized crop.
        color_jitter: strength of colour jitter; None is off.
        auto_augment: timm policy, e.g. ``rand-m9-mstd0.5``; None is off.
        crop_pct: share of the image that evaluation crops.
        interpolation: of resizing.
        **kwargs: as for :class:`ImageDataModule`; ``num_classes`` must fit the folders.

    Raises:
        WsnError: a missing folder, no classes, or another number of classes than ``num_classes``.
    """

    def __init__(
        self,
        root: str,
        crop_scale_min: float = 0.08,
        color_jitter: float | None = 0.4,
        auto_augment: str | None = None,
        crop_pct: float = 0.875,
        interpolation: str = "bicubic",
        **kwargs: Any,
    ):
        super().__init__(**{"in_chans": 3, "name": "imagefolder", **kwargs})
        self.root = Path(root).expanduser()
        self.crop_scale_min = crop_scale_min
        self.color_jitter = color_jitter
        self.auto_augment = auto_augment
        self.crop_pct = crop_pct
        self.interpolation = interpolation

    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        """Return training set, the same without augmentation, test set."""
        test = "test" if (self.root / "test").is_dir() else "val"
        augmented = create_transform(
            self.image_size,
            is_training=True,
            scale=(self.crop_scale_min, 1.0),
            color_jitter=self.color_jitter,  # type: ignore[arg-type]
            auto_augment=self.auto_augment,
            interpolation=self.interpolation,
            re_prob=self.random_erasing,
        )
        plain = create_transform(self.image_size, crop_pct=self.crop_pct, interpolation=self.interpolation)
        return self._folder("train", augmented), self._folder("train", plain), self._folder(test, plain)

    def _folder(self, split: str, transform: Callable[[Any], Any]) -> ImageFolder:
        folder = self.root / split
        if not folder.is_dir():
            raise WsnError(
                f"data.root: {folder} does not exist. {self.root} must hold train/<class>/*.jpg and val/<class>/*.jpg; "
                "pass the right folder: data.root=/path"
            )
        try:
            dataset = ImageFolder(str(folder), transform, loader=_load_image)
        except FileNotFoundError as error:
            raise WsnError(f"data.root: {folder} has no class folders with images. {error}") from error
        if len(dataset.classes) != self.num_classes:
            raise WsnError(
                f"{folder} has {len(dataset.classes)} classes ({listed(dataset.classes, 6)}). Received "
                f"data.num_classes={self.num_classes}; set data.num_classes={len(dataset.classes)}"
            )
        return dataset


def _load_image(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise WsnError(f"Cannot read the image {path}: {error}. Restore or remove it") from error
