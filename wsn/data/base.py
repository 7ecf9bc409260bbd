"""Base classes of data modules: training, held-out and test split; of images also BN calibration and mixup."""

import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import lightning as L
import torch
from timm.data import Mixup
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wsn.data.loader import EpochBatchSampler, ResumableLoader, SeededDataset, isolated_rng
from wsn.errors import WsnError
from wsn.evaluation.metrics import ImageMetrics, SubnetMetrics
from wsn.evaluation.task import CLASSIFICATION

SPLIT_SEED = 937162211  # the same images are held out in every run, as in OFA's released code


class DataModule(L.LightningDataModule):
    """A training set with a held-out part, and a test set, in an order that can be resumed.

    The held-out part is for selecting subnets; the test set is for the end. Subclasses write :meth:`datasets` and
    :meth:`metrics`.

    Args:
        batch_size: training samples per process and step.
        eval_batch_size: samples per batch of evaluation.
        num_workers: processes that load samples.
        val_size: samples of the training set held out.
        seed: of the order and the augmentation.
        images_per_epoch: an epoch is a fresh random part of the training set with this many samples (over all
            processes); None: all of it. Makes short phases possible.
        name: of the data set.
    """

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        val_size: int = 1000,
        seed: int = 0,
        images_per_epoch: int | None = None,
        name: str = "data",
    ):
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.val_size = val_size
        self.seed = seed
        self.images_per_epoch = images_per_epoch
        self.name = name
        self.importance: Tensor | None = None
        self.order: EpochBatchSampler
        self._train: Dataset | None = None

    task = CLASSIFICATION
    """The task of its networks."""

    # -- what a data set implements ----------------------------------------------------------------

    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        """Return the training set with augmentation, the same without, and the test set, all by index.

        Augmentation may draw from the global generators of Python, NumPy and PyTorch: they are seeded for each (epoch,
        index), so that a run is the same with any number of workers and after a resume. A training set with an
        attribute ``by_epoch = True`` is asked for items by (epoch, index) instead, and draws as it likes.
        """
        raise NotImplementedError

    def metrics(self) -> SubnetMetrics:
        """Return the metrics of one subnet."""
        raise NotImplementedError

    def check(self, train: Dataset, test: Dataset) -> None:
        """Look at the data when it is opened; a subclass raises WsnError where networks could not be trained on it."""

    collate: Callable[[Any], Any] | None = None

    def train_collate(self) -> Callable[[Any], Any] | None:
        """Return the collate function of the training loader."""
        return self.collate

    # -- splits -------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Load the data and hold out a part of the training set."""
        if self._train is not None:
            return
        train, plain, self._test = self.datasets()
        self.check(plain, self._test)
        total = len(plain)  # type: ignore[arg-type]
        if not 0 < self.val_size < total:
            raise WsnError(f"data.val_size must be between 1 and {total - 1}. Received {self.val_size}")
        order = torch.randperm(total, generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
        by_epoch = train if getattr(train, "by_epoch", False) else SeededDataset(train, self.seed)
        self._train = _TrainSubset(by_epoch, order[self.val_size :])
        self._val = _Subset(plain, order[: self.val_size])

    @property
    def train_size(self) -> int:
        """Samples of the training set, without the held-out ones."""
        self.setup()
        return len(self._train)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader:
        """Return the training loader; a resumed trainer gets the rest of its epoch."""
        self.setup()
        assert self._train is not None
        trainer = self.trainer
        self.order = EpochBatchSampler(
            len(self._train),  # type: ignore[arg-type]
            self.batch_size,
            self.seed,
            self._position,
            trainer.global_rank if trainer else 0,
            trainer.world_size if trainer else 1,
            self.images_per_epoch,
            lambda: self.importance,
        )
        collate = self.train_collate()
        return ResumableLoader(self._train, batch_sampler=self.order, **self._workers(), collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        """Return the loader of the held-out part of the training set."""
        self.setup()
        return self._plain_loader(self._val)

    def held_out(self, count: int, device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the first ``count`` batches of the held-out part on a device: what importance and routers look at."""
        for inputs, labels in islice(self.val_dataloader(), count):
            yield inputs.to(device), labels.to(device)

    def test_dataloader(self) -> DataLoader:
        """Return the loader of the test set."""
        self.setup()
        return self._plain_loader(self._test)

    def calibration_batches(self) -> list[Tensor]:
        """Return inputs for BN calibration; none, unless a subclass has them."""
        return []

    # -- inside ----------------------------------------------------------------------------------------

    def _position(self) -> tuple[int, int]:
        """Return (epoch, batch) from the batches trained so far, which Lightning keeps in its checkpoints."""
        if self.trainer is None:
            return 0, 0
        done = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        return divmod(done, self._batches_per_epoch())

    def _batches_per_epoch(self) -> int:
        """Return how many batches the trainer takes of an epoch: not known to it yet while it restores loaders."""
        assert self.trainer is not None
        known = self.trainer.num_training_batches
        if known != float("inf"):
            return max(1, int(known))
        served, limit = len(self.order), self.trainer.limit_train_batches
        return max(1, min(served, limit) if isinstance(limit, int) else int(served * limit))

    def _plain_loader(self, dataset: Dataset) -> DataLoader:
        return DataLoader(dataset, self.eval_batch_size, collate_fn=self.collate, **self._workers())

    def _workers(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
            "generator": torch.Generator(),  # a DataLoader draws a seed at each start: not from the global one
        }


class ImageDataModule(DataModule):
    """Images for training and evaluating subnets.

    A batch is images float (B, C, H, W), normalised, at ``image_size``, and classes (B,), or probabilities
    (B, num_classes) with mixup.

    Args:
        image_size: height and width in pixels.
        mixup: alpha of mixup (Zhang et al. 2017, arXiv:1710.09412); 0 is off.
        cutmix: alpha of CutMix (Yun et al. 2019, arXiv:1905.04899); 0 is off.
        random_erasing: probability of random erasing.
        calibration_images: training images for BN calibration.
        num_classes: number of classes.
        in_chans: number of channels.
        **kwargs: as for :class:`DataModule`.
    """

    def __init__(
        self,
        image_size: int = 32,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        random_erasing: float = 0.0,
        calibration_images: int = 2000,
        num_classes: int = 10,
        in_chans: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**{"name": "images", **kwargs})
        self.image_size = image_size
        self.random_erasing = random_erasing
        self.calibration_images = calibration_images
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.mixup: Mixup | None = None
        if mixup > 0 or cutmix > 0:
            if self.batch_size % 2:
                raise WsnError(f"mixup needs an even data.batch_size. Received {self.batch_size}")
            # label smoothing is the method's
            self.mixup = Mixup(mixup, cutmix, num_classes=num_classes, label_smoothing=0.0)
        self._calibration: list[Tensor] | None = None

    def metrics(self) -> SubnetMetrics:
        """Return the metrics of one subnet."""
        return ImageMetrics(self.num_classes)

    def check(self, train: Dataset, test: Dataset) -> None:
        """Check that images have ``in_chans`` channels and that every label is one of ``num_classes``.

        Labels are looked at where a data set tells them without its images, as ``labels`` or ``targets``; the file of a
        wrong one where it tells ``samples``, as torchvision's folders do.

        Raises:
            WsnError: which split and image, and what to set.
        """
        for split, dataset in (("training", train), ("test", test)):
            labels = getattr(dataset, "labels", getattr(dataset, "targets", None))
            if labels is not None:
                self._check_labels(split, dataset, torch.as_tensor(labels))
        images = getattr(train, "images", None)
        if torch.is_tensor(images) and len(images) > 1 and bool((images == images[:1]).all()):
            raise WsnError(f"data={self.name}: all {len(images)} training images are equal. Is it the right file?")
        first: Any = train[0]
        channels = first[0].shape[0] if torch.is_tensor(first[0]) and first[0].ndim == 3 else self.in_chans
        if channels != self.in_chans:
            raise WsnError(
                f"data={self.name} has images of {channels} channels. Received data.in_chans={self.in_chans}; set "
                f"data.in_chans={channels}"
            )

    def _check_labels(self, split: str, dataset: Any, labels: Tensor) -> None:
        if labels.ndim == 2 and labels.shape[1] != self.num_classes:
            raise WsnError(
                f"data={self.name} has {labels.shape[1]} labels an image. Received data.num_classes={self.num_classes}"
            )
        outside = ((labels < 0) | (labels >= self.num_classes)).nonzero() if labels.ndim == 1 else labels.new_empty(0)
        if len(outside):
            first = int(outside[0])
            samples = getattr(dataset, "samples", None)
            which = samples[first][0] if samples else f"image {first}"
            raise WsnError(
                f"data={self.name}: {len(outside)} labels of the {split} set are outside 0 to {self.num_classes - 1}; "
                f"the first is {labels[first]}, of {which}. Mend the labels, or set data.num_classes="
                f"{max(int(labels.max()) + 1, 1)}"
            )

    def train_collate(self) -> Callable[[Any], Any] | None:
        """Return the collate function, with mixup where it is on."""
        return _Mixed(self.collate, self.mixup, self.seed) if self.mixup else self.collate

    def calibration_batches(self) -> list[Tensor]:
        """Return training images with the training augmentation, the same ones at each call.

        Returns:
            batches (B, C, H, W), ``calibration_images`` in all.
        """
        self.setup()
        assert self._train is not None
        if self._calibration is None:
            count = min(self.calibration_images, len(self._train))  # type: ignore[arg-type]
            size = min(self.batch_size, count)
            sampler = EpochBatchSampler(count, size, SPLIT_SEED)
            loader = DataLoader(self._train, batch_sampler=sampler, collate_fn=self.collate)
            self._calibration = [images for images, _ in loader]
        return self._calibration


class _Subset(Dataset):
    """Some items of a data set, by index; fetches batches at once where the data set can."""

    def __init__(self, dataset: Any, indices: list[int]):
        self.dataset = dataset
        self.indices = indices
        if hasattr(dataset, "__getitems__"):
            self.__getitems__ = self._items

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def _items(self, items: Any) -> Any:
        return self.dataset.__getitems__([self.indices[i] for i in items])


class _TrainSubset(_Subset):
    """As :class:`_Subset`, with items by (epoch, index)."""

    def __getitem__(self, item: Any) -> Any:
        return self.dataset[(item[0], self.indices[item[1]])]

    def _items(self, items: Any) -> Any:
        return self.dataset.__getitems__([(e, self.indices[i]) for e, i in items])


class _Mixed:
    """Collate a batch, then mix it; the draws depend on the seed and the batch alone."""

    def __init__(self, collate: Callable[[Any], Any] | None, mixup: Mixup, seed: int):
        self.collate = collate or torch.utils.data.default_collate
        self.mixup = mixup
        self.seed = seed

    def __call__(self, batch: Any) -> tuple[Tensor, Tensor]:
        images, labels = self.collate(batch)
        # The first image tells batches and epochs apart, in every process alike.
        with isolated_rng(self.seed, zlib.crc32(images[0].numpy().tobytes())):
            return self.mixup(images, labels)
