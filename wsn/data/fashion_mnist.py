"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): the packaged subset, and the whole set."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wsn.data.arrays import ArrayImages, keep_batch
from wsn.data.base import SPLIT_SEED, ImageDataModule
from wsn.data.multilabel import MultilabelData
from wsn.errors import WsnError

MEAN, STD = (0.2860,), (0.3530,)
SMALL = Path(__file__).parent / "assets" / "fashion_mnist_small.npz"
MORE = SMALL.with_name("fashion_mnist_more.npz")

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images (N, 28, 28) uint8 and classes (N,), test images and classes."""


class FashionMNISTSmall(ImageDataModule):
    """The packaged subset: 10,000 training and 2,000 test images, balanced, 28 px padded to 32.

    Args:
        crop_padding: pixels by which a random crop moves at most.
        flip: mirror half of the training images.
        **kwargs: as for :class:`ImageDataModule`.
    """

    collate = staticmethod(keep_batch)

    def __init__(self, crop_padding: int = 2, flip: bool = True, **kwargs: Any):
        super().__init__(**{"num_classes": 10, "in_chans": 1, "name": "fashion_mnist_small", **kwargs})
        self.crop_padding = crop_padding
        self.flip = flip

    def arrays(self) -> Arrays:
        """Return training images (N, 28, 28) uint8 and classes, test images and classes."""
        return packaged(SMALL)

    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        """Return training set, the same without augmentation, test set."""
        train_images, train_labels, test_images, test_labels = map(torch.from_numpy, self.arrays())

        def dataset(images: Tensor, labels: Tensor, augment: bool) -> Dataset:
            return ArrayImages(
                images.unsqueeze(1),
                labels.long(),
                self.image_size,
                MEAN,
                STD,
                augment,
                self.seed,
                self.crop_padding,
                self.flip,
                random_erasing=self.random_erasing,
            )

        return (
            dataset(train_images, train_labels, augment=True),
            dataset(train_images, train_labels, augment=False),
            dataset(test_images, test_labels, augment=False),
        )


class FashionMNISTMedium(FashionMNISTSmall):
    """The packaged subset and more: 15,000 training images, balanced, and all 10,000 test images.

    The first 10,000 training and 2,000 test images are those of :class:`FashionMNISTSmall`. With 10,000 test images a
    measured accuracy near 88 % has a standard error of 0.3 points, with 2,000 of 0.7.

    Args:
        **kwargs: as for :class:`FashionMNISTSmall`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "fashion_mnist_medium", **kwargs})

    def arrays(self) -> Arrays:
        """Return training images (N, 28, 28) uint8 and classes, test images and classes."""
        parts = zip(packaged(SMALL), packaged(MORE))
        return tuple(np.concatenate(pair) for pair in parts)  # type: ignore[return-value]


class FashionMNISTMosaic(MultilabelData, FashionMNISTSmall):
    """A toy set of images with several labels: two to four images of the packaged subset in one, each at half size.

    The labels say which classes are among them; as many mosaics as images, of training images and of test images.

    Args:
        **kwargs: as for :class:`FashionMNISTSmall`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "fashion_mnist_mosaic", **kwargs})

    def arrays(self) -> Arrays:
        """Return training images (N, 28, 28) uint8 and labels (N, 10), test images and labels."""
        train_images, train_labels, test_images, test_labels = packaged(SMALL)
        return (*mosaics(train_images, train_labels), *mosaics(test_images, test_labels))


def mosaics(images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return as many mosaics of images (N, 28, 28) uint8 as there are, and their labels (N, 10), 0 or 1."""
    rng = np.random.default_rng(SPLIT_SEED)
    count, size = len(images), images.shape[-1] // 2
    small = images.reshape(count, size, 2, size, 2).mean((2, 4)).astype(np.uint8)
    chosen = rng.integers(count, size=(count, 4))
    tiles = small[chosen]  # (N, 4, 14, 14)
    there = np.argsort(rng.random((count, 4)), axis=1) < rng.integers(2, 5, size=(count, 1))
    tiles[~there] = 0
    labels = np.zeros((count, 10), np.int64)
    rows, places = np.nonzero(there)
    labels[rows, classes[chosen[rows, places]]] = 1
    whole = tiles.reshape(count, 2, 2, size, size).swapaxes(2, 3).reshape(images.shape)
    return whole, labels


class FashionMNIST(FashionMNISTSmall):
    """The whole set: 60,000 training and 10,000 test images.

    Args:
        root: folder of the four idx .gz files (Debian: /usr/share/datasets/fashion-mnist), or where torchvision
            keeps or downloads them.
        download: download what is missing.
        **kwargs: as for :class:`ImageDataModule`.
    """

    def __init__(self, root: str, download: bool = True, **kwargs: Any):
        super().__init__(**{"name": "fashion_mnist", **kwargs})
        self.root = Path(root).expanduser()
        self.download = download

    def prepare_data(self) -> None:
        """Download the data where it is missing and allowed.

        Raises:
            WsnError: no data and no way to get it.
        """
        if (self.root / "train-images-idx3-ubyte.gz").exists():
            return
        from torchvision import datasets

        try:
            for train in (True, False):
                datasets.FashionMNIST(str(self.root), train=train, download=self.download)
        except (RuntimeError, OSError) as error:
            raise WsnError(
                f"Fashion-MNIST is not in {self.root} and cannot be downloaded ({error}). Put its four idx .gz files "
                "there, or pass their folder: data.root=/path (Debian's package dataset-fashion-mnist has them)"
            ) from error

    def arrays(self) -> Arrays:
        """Return training images (N, 28, 28) uint8 and classes, test images and classes."""
        self.prepare_data()
        folder = self.root
        if not (folder / "train-images-idx3-ubyte.gz").exists():
            folder = self.root / "FashionMNIST" / "raw"
        return (*read_idx(folder, "train"), *read_idx(folder, "t10k"))


def packaged(path: Path) -> Arrays:
    """Read a packaged file."""
    with np.load(path) as data:
        return tuple(data[k] for k in ("train_images", "train_labels", "test_images", "test_labels"))


def read_idx(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28) uint8 and classes (N,) from two idx .gz files."""
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images.copy(), labels.copy()
