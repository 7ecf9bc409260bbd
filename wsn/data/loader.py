"""The order of training data: exact, resumable in the middle of an epoch, and shared out among processes."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from wsn.errors import WsnError

Position = Callable[[], tuple[int, int]]
"""The epoch and the first batch in it to serve now."""


def key_of(*parts: int) -> int:
    """Return a 63-bit seed that depends on all ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class EpochBatchSampler(Sampler):
    """Batches of (epoch, index) pairs, in an order that depends on (seed, epoch) alone.

    Each global batch is divided among the ranks in contiguous shares, so that the number of processes
    changes nothing but who computes what.

    Args:
        length: size of the data set.
        batch_size: images per process and batch.
        seed: of the run.
        position: asked at each start of iteration; a resumed run starts in the middle of an epoch.
        rank: of this process.
        world_size: number of processes.
        images_per_epoch: serve only this many of each epoch's permutation; None: all.
        importance: asked at each epoch for the images' probabilities (length,); they are then drawn with replacement.
            None: a permutation.

    Raises:
        WsnError: fewer images than one global batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        position: Position = lambda: (0, 0),
        rank: int = 0,
        world_size: int = 1,
        images_per_epoch: int | None = None,
        importance: Callable[[], torch.Tensor | None] = lambda: None,
    ):
        self.served = min(length, images_per_epoch or length)
        if self.served < batch_size * world_size:
            raise WsnError(
                f"An epoch has {self.served} images, less than one batch of {batch_size} × {world_size} processes. "
                f"Set data.batch_size={max(1, self.served // world_size)} or less"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.rank = rank
        self.world_size = world_size
        self.importance = importance
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self.served // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = self.position()
        self._order = (-1, [])
        for batch in range(first, len(self)):
            yield [(epoch, index) for index in self.batch(epoch, batch)]

    def batch(self, epoch: int, batch: int) -> list[int]:
        """Return the indices of this rank's images in one batch."""
        if self._order[0] != epoch:
            self._order = (epoch, self._epoch_order(epoch))
        start = (batch * self.world_size + self.rank) * self.batch_size
        return self._order[1][start : start + self.batch_size]

    def _epoch_order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(key_of(self.seed, epoch))
        weights = self.importance()
        if weights is None:
            return torch.randperm(self.length, generator=generator).tolist()
        return torch.multinomial(weights, self.length, replacement=True, generator=generator).tolist()


class ResumableLoader(DataLoader):
    """A DataLoader whose batch sampler asks the trainer where to start; it has no state of its own.

    The two methods tell Lightning that resuming in the middle of an epoch is exact.
    """

    def state_dict(self) -> dict:
        """Return nothing: the trainer's progress is the position."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take nothing back."""


@contextmanager
def isolated_rng(*parts: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch from ``parts``, and restore them afterwards."""
    seed = key_of(*parts)
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)


class SeededDataset(Dataset):
    """Augmentation that depends on (seed, epoch, index) alone: equal for any number of workers and after a resume.

    Args:
        dataset: index → (image, class), drawing from the global generators.
        seed: of the run.
    """

    by_epoch = True

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: tuple[int, int]) -> Any:
        epoch, index = item
        with isolated_rng(self.seed, epoch, index):
            return self.dataset[index]
