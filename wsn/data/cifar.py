"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), through torchvision."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from wsn.data.arrays import ArrayImages, keep_batch
from wsn.data.base import ImageDataModule
from wsn.errors import WsnError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class CIFAR(ImageDataModule):
    """CIFAR: 50,000 training and 10,000 test images of 32 px.

    Args:
        root: folder where torchvision keeps the data.
        classes: 10 or 100.
        download: download what is missing.
        crop_padding: pixels by which a random crop moves at most.
        **kwargs: as for :class:`ImageDataModule`.
    """

    collate = staticmethod(keep_batch)

    def __init__(self, root: str, classes: int = 10, download: bool = True, crop_padding: int = 4, **kwargs: Any):
        if classes not in (10, 100):
            raise WsnError(f"There is CIFAR-10 and CIFAR-100. Received data.classes={classes}")
        super().__init__(**{"num_classes": classes, "in_chans": 3, "name": f"cifar{classes}", **kwargs})
        self.root = Path(root).expanduser()
        self.classes = classes
        self.download = download
        self.crop_padding = crop_padding

    def prepare_data(self) -> None:
        """Download the data where it is missing and allowed."""
        for train in (True, False):
            self._torchvision(train, self.download)

    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        """Return training set, the same without augmentation, test set."""
        train, test = (self._torchvision(split, download=False) for split in (True, False))

        def dataset(source: "CIFAR10", augment: bool) -> Dataset:
            images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
            return ArrayImages(
                images,
                torch.tensor(source.targets),
                self.image_size,
                MEAN,
                STD,
                augment,
                self.seed,
                self.crop_padding,
                random_erasing=self.random_erasing,
            )

        return dataset(train, augment=True), dataset(train, augment=False), dataset(test, augment=False)

    def _torchvision(self, train: bool, download: bool) -> "CIFAR10":
        from torchvision import datasets

        kind = datasets.CIFAR10 if self.classes == 10 else datasets.CIFAR100
        try:
            return kind(str(self.root), train=train, download=download)
        except (RuntimeError, OSError) as error:
            raise WsnError(
                f"CIFAR-{self.classes} is not in {self.root} and could not be downloaded ({error}). Unpack "
                f"{kind.filename} there, or pass its folder: data.root=/path"
            ) from error
