"""Noise around one pattern for each class."""

import torch
from torch.utils.data import Dataset, TensorDataset

from wsn.data.base import ImageDataModule


class Patterns(ImageDataModule):
    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        rng = torch.Generator().manual_seed(0)
        patterns = torch.randn(self.num_classes, self.in_chans, 8, 8, generator=rng)

        def images(count: int) -> Dataset:
            labels = torch.randint(self.num_classes, (count,), generator=rng)
            return TensorDataset(patterns[labels] + torch.randn(count, self.in_chans, 8, 8, generator=rng), labels)

        train = images(256)
        return train, train, images(100)
