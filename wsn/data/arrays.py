"""Image data that fits in memory: whole batches are augmented at once."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from wsn.data.loader import key_of

T = TypeVar("T")


class ArrayImages(Dataset):
    """Images (N, C, H, W) uint8 and classes (N,), normalised and, for training, augmented.

    Training images are padded and cropped at random, flipped, and parts of some are erased; the draws depend
    on (seed, epoch, first index of the batch) alone.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        image_size: height and width that come out; smaller images are padded with zeros.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        augment: whether to augment.
        seed: of the run.
        crop_padding: pixels by which a random crop moves at most.
        flip: whether to mirror half of the images.
        random_erasing: probability of erasing a random rectangle.
    """

    by_epoch = True

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augment: bool = False,
        seed: int = 0,
        crop_padding: int = 4,
        flip: bool = True,
        random_erasing: float = 0.0,
    ):
        pad = image_size - images.shape[-1]
        self.images = F.pad(images, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        self.labels = labels
        self.mean = torch.tensor(mean).view(1, -1, 1, 1)
        self.std = torch.tensor(std).view(1, -1, 1, 1)
        self.augment = augment
        self.seed = seed
        self.crop_padding = crop_padding
        self.flip = flip
        self.random_erasing = random_erasing

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, items: list) -> tuple[Tensor, Tensor]:
        """Return a batch: images float (B, C, H, W), classes (B,).

        Args:
            items: (epoch, index) pairs of one epoch where ``augment`` is on, else indices.
        """
        if not self.augment:
            return self._plain(torch.tensor(items))
        indices = torch.tensor([index for _, index in items])
        images, labels = self._plain(indices)
        epoch, first = items[0]
        return self._augmented(images, torch.Generator().manual_seed(key_of(self.seed, epoch, first))), labels

    def __getitem__(self, item: tuple[int, int] | int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([item])
        return images[0], labels[0]

    def _plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images[indices].float().div_(255).sub_(self.mean).div_(self.std)
        return images, self.labels[indices]

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, size, _ = images.shape
        if self.crop_padding:
            p = self.crop_padding
            # Padding is black, as the images' own margin.
            black = ((0 - self.mean) / self.std).view(1, -1, 1, 1)
            padded = black.expand(count, -1, size + 2 * p, size + 2 * p).clone()
            padded[:, :, p : p + size, p : p + size] = images
            shift = torch.randint(0, 2 * p + 1, (2, count), generator=generator)
            rows = shift[0, :, None] + torch.arange(size)  # (B, H)
            columns = shift[1, :, None] + torch.arange(size)
            flat = rows[:, :, None] * (size + 2 * p) + columns[:, None, :]  # (B, H, W)
            flat = flat.view(count, 1, -1).expand(-1, images.shape[1], -1)
            images = padded.flatten(2).gather(2, flat).view_as(images)
        if self.flip:
            mirrored = torch.rand(count, generator=generator) < 0.5
            images[mirrored] = images[mirrored].flip(-1)
        if self.random_erasing:
            self._erase(images, generator)
        return images

    def _erase(self, images: Tensor, generator: torch.Generator) -> None:
        """Erase one rectangle of 2 to 33 % of the area (Zhong et al. 2017, arXiv:1708.04896), filled with the mean."""
        size = images.shape[-1]
        chosen = (torch.rand(len(images), generator=generator) < self.random_erasing).nonzero().flatten()
        for i in chosen.tolist():
            area, log_ratio, y, x = torch.rand(4, generator=generator).tolist()
            side = ((0.02 + 0.31 * area) ** 0.5) * size
            stretch = (1 / 0.3) ** (log_ratio - 0.5)
            height, width = min(size, round(side * stretch)), min(size, round(side / stretch))
            top, left = int(y * (size - height + 1)), int(x * (size - width + 1))
            images[i, :, top : top + height, left : left + width] = 0.0


def keep_batch(batch: T) -> T:
    """Return what ``__getitems__`` made: it is collated already."""
    return batch
