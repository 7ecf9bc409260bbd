import hashlib
import random

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from wsn import WsnError
from wsn.data.arrays import ArrayImages
from wsn.data.cifar import CIFAR
from wsn.data.fashion_mnist import MORE, SMALL, FashionMNIST, FashionMNISTMedium, FashionMNISTSmall
from wsn.data.imagefolder import ImageFolderData
from wsn.data.loader import EpochBatchSampler


def small(**kwargs):
    return FashionMNISTSmall(**{"batch_size": 64, "calibration_images": 128, **kwargs})


def test_the_packaged_data_is_what_it_says():
    digest = hashlib.sha256(SMALL.read_bytes()).hexdigest()
    assert digest == "d75e7d3ec7e224749e95dbc805f208716f8f622b80cfb7862cc38ca375a9de45"
    train_x, train_y, test_x, test_y = small().arrays()
    assert train_x.shape == (10000, 28, 28)
    assert test_x.shape == (2000, 28, 28)
    assert (np.bincount(train_y) == 1000).all()
    assert (np.bincount(test_y) == 200).all()


def test_the_larger_packaged_data_is_what_it_says():
    digest = hashlib.sha256(MORE.read_bytes()).hexdigest()
    assert digest == "1fd524d0ee781ba22687bec483f80e042dc6a357735fe1b4975a3dd9fb0a6a33"
    train_x, train_y, test_x, test_y = FashionMNISTMedium().arrays()
    assert (np.bincount(train_y) == 1500).all()
    assert (np.bincount(test_y) == 1000).all()
    first, first_y, first_test, _ = small().arrays()
    assert np.array_equal(train_x[:10000], first)
    assert np.array_equal(train_y[:10000], first_y)
    assert np.array_equal(test_x[:2000], first_test)
    assert len({image.tobytes() for image in (*train_x, *test_x)}) > 24_980  # no image twice, but for the set's own few


def test_batches():
    data = small()
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (64, 1, 32, 32)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    sizes = [sum(len(y) for _, y in loader) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert sizes == [1000, 2000]
    whole = torch.cat([x for x, _ in data.test_dataloader()])
    assert abs(whole[..., 2:30, 2:30].mean()) < 0.05
    assert abs(whole[..., 2:30, 2:30].std() - 1) < 0.05


def test_the_held_out_split_is_disjoint_and_the_same_for_every_seed():
    a, b = small(seed=0), small(seed=1)
    a.setup()
    b.setup()
    assert a._val.indices == b._val.indices
    assert not set(a._val.indices) & set(a._train.indices)
    assert len(a._val.indices) + len(a._train.indices) == 10000


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch, first=0):
        return list(EpochBatchSampler(100, 8, seed, lambda: (epoch, first)))

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert order(0, 3, first=5) == order(0, 3)[5:]
    assert len(order(0, 0)) == 12


def test_ranks_share_each_global_batch():
    whole = list(EpochBatchSampler(96, 8, 0, lambda: (2, 0)))
    parts = [list(EpochBatchSampler(96, 4, 0, lambda: (2, 0), rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts)] == whole


@pytest.mark.parametrize("options", [{}, {"mixup": 0.2, "cutmix": 1.0}, {"random_erasing": 0.5}])
def test_augmentation_is_the_same_with_workers_and_leaves_the_global_generators(options):
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    here = list(small(**options).train_dataloader())[:3]
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert (np.random.get_state()[1] == states[2]).all()
    there = []
    for batch in small(num_workers=2, **options).train_dataloader():
        there.append(batch)
        if len(there) == 3:
            break
    for (x, y), (v, w) in zip(here, there):
        assert torch.equal(x, v)
        assert torch.equal(y, w)
    if "mixup" in options:
        assert here[0][1].shape == (64, 10)
        torch.testing.assert_close(here[0][1].sum(-1), torch.ones(64))


def test_crop_and_flip_move_whole_images():
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).repeat(50, 1, 1, 1)
    data = ArrayImages(image, torch.zeros(50).long(), 4, (0.0,), (1.0 / 255,), augment=True, crop_padding=1)
    batch, _ = data.__getitems__([(0, i) for i in range(50)])
    padded = torch.nn.functional.pad(image[0].float(), (1, 1, 1, 1))
    possible = {
        tuple(crop.flatten().tolist())
        for top in range(3)
        for left in range(3)
        for crop in (padded[0, top : top + 4, left : left + 4], padded[0, top : top + 4, left : left + 4].flip(-1))
    }
    seen = {tuple(x.flatten().round().tolist()) for x in batch}
    assert seen <= possible
    assert len(seen) > 8


def test_calibration_images_are_the_same_each_time():
    a, b = small().calibration_batches(), small(seed=7).calibration_batches()
    assert sum(len(x) for x in a) == 128
    assert all(x.shape == y.shape for x, y in zip(a, b))
    again = small().calibration_batches()
    assert all(torch.equal(x, y) for x, y in zip(a, again))


class Recorder(L.LightningModule):
    """Notes what it is trained on."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(1, 1)
        self.seen, self.stop_at = [], stop_at

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, round(batch[0].double().sum().item(), 3)))
        optimizer = self.optimizers()
        self.manual_backward(self.layer(torch.ones(1, 1)).sum())
        optimizer.step()
        if self.stop_at == len(self.seen):
            raise RuntimeError("crash")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("every", [3, 5])  # in the middle of an epoch of 5 batches, and at its end
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_goes_on_with_the_next_batch(tmp_path, workers, every):
    def trainer():
        return L.Trainer(
            max_epochs=3,
            limit_train_batches=5,
            accelerator="cpu",
            logger=False,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=L.pytorch.callbacks.ModelCheckpoint(
                tmp_path, "last", every_n_train_steps=every, enable_version_counter=False
            ),
        )

    whole = Recorder()
    trainer().fit(whole, datamodule=small(num_workers=workers))
    assert len(whole.seen) == 15
    (tmp_path / "last.ckpt").unlink()
    crashed = Recorder(stop_at=8)
    with pytest.raises(RuntimeError, match="crash"):
        trainer().fit(crashed, datamodule=small(num_workers=workers))
    saved = 7 // every * every
    resumed = Recorder()
    trainer().fit(resumed, datamodule=small(num_workers=workers), ckpt_path=tmp_path / "last.ckpt")
    assert crashed.seen[:saved] + resumed.seen == whole.seen


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            where = tmp_path / split / name
            where.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(where / f"{i}.png")
    return tmp_path


def folder_data(root, **kwargs):
    options = {"num_classes": 2, "image_size": 32, "batch_size": 4, "val_size": 6, "calibration_images": 8}
    return ImageFolderData(root, **{**options, **kwargs})


def test_image_folder(folder):
    data = folder_data(folder, auto_augment="rand-m9-mstd0.5", random_erasing=0.2)
    batches = list(data.train_dataloader())
    assert [x.shape for x, _ in batches] == [(4, 3, 32, 32)] * 4
    assert sum(len(y) for _, y in data.val_dataloader()) == 6
    assert sum(len(y) for _, y in data.test_dataloader()) == 8  # val is the test set
    again = list(folder_data(folder, auto_augment="rand-m9-mstd0.5", random_erasing=0.2).train_dataloader())
    assert all(torch.equal(x, v) for (x, _), (v, _) in zip(batches, again))
    assert len(data.calibration_batches()) == 2


def test_errors(folder, tmp_path):
    with pytest.raises(WsnError, match=r"does not exist.*data.root"):
        folder_data(folder / "nowhere").setup()
    with pytest.raises(WsnError, match="data.num_classes=2"):
        folder_data(folder, num_classes=10).setup()
    with pytest.raises(WsnError, match="data.val_size"):
        folder_data(folder, val_size=24).setup()
    with pytest.raises(WsnError, match="data.batch_size=18"):
        folder_data(folder, batch_size=64).train_dataloader()
    (folder / "test").mkdir()
    with pytest.raises(WsnError, match="no class folders"):
        folder_data(folder).setup()
    (folder / "test").rmdir()
    (folder / "val" / "cat" / "0.png").write_text("not an image")
    with pytest.raises(WsnError, match=r"cat/0.png"):
        list(folder_data(folder).test_dataloader())
    with pytest.raises(WsnError, match="even"):
        small(batch_size=63, mixup=0.2)
    with pytest.raises(WsnError, match="CIFAR-10"):
        CIFAR(str(tmp_path / "cifar"), download=False).setup()
    with pytest.raises(WsnError, match="dataset-fashion-mnist"):
        FashionMNIST(str(tmp_path / "fashion"), download=False).setup()


class Relabelled(FashionMNISTSmall):
    """The packaged images with one label changed."""

    split, label = 1, 10

    def arrays(self):
        found = [part.copy() for part in super().arrays()]
        found[self.split] = found[self.split].astype(np.int64)
        found[self.split][7] = self.label
        return tuple(found)


@pytest.mark.parametrize(("split", "name"), [(1, "training"), (3, "test")])
@pytest.mark.parametrize("label", [10, -1])
def test_labels_out_of_range_are_found_when_the_data_is_opened(split, name, label):
    data = Relabelled()
    data.split, data.label = split, label
    with pytest.raises(WsnError) as error:
        data.setup()
    assert f"1 labels of the {name} set are outside 0 to 9; the first is {label}, of image 7" in str(error.value)
    assert f"data.num_classes={max(label + 1, 10)}" in str(error.value)


def test_more_classes_than_the_config_says_are_found_when_the_data_is_opened():
    with pytest.raises(WsnError, match="outside 0 to 4.*data.num_classes=10"):
        small(num_classes=5).setup()
    small(num_classes=12).setup()


def test_images_of_other_channels_are_found_when_the_data_is_opened():
    with pytest.raises(WsnError, match="images of 1 channels.*set data.in_chans=1"):
        small(in_chans=3).setup()
