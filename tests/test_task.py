"""Tasks: what a loss sees, what is measured, what makes a subnet good; classification is only one of them."""

import json

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multilabel_average_precision

from wsn.config import CONF, build_data, compose
from wsn.data.fashion_mnist import SMALL, mosaics, packaged
from wsn.data.multilabel import MultilabelData
from wsn.errors import WsnError
from wsn.evaluation.quality import (
    ACCURACY,
    BITS_PER_BYTE,
    MEAN_AP,
    Quality,
    know,
    quality_of,
    read_quality,
    write_quality,
)
from wsn.evaluation.task import CLASSIFICATION, LANGUAGE, MULTILABEL
from wsn.losses import soft_cross_entropy
from wsn.run.train import train


@pytest.fixture
def several():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 5, generator=generator), (torch.rand(16, 5, generator=generator) < 0.4).long()


def test_the_label_loss_of_several_labels_is_binary_cross_entropy(several):
    logits, labels = several
    expected = F.binary_cross_entropy_with_logits(logits, labels.float())
    torch.testing.assert_close(MULTILABEL.loss(logits, labels), expected)
    between = labels * 0.8 + 0.1  # smoothed labels are probabilities of yes
    torch.testing.assert_close(MULTILABEL.loss(logits, between), F.binary_cross_entropy_with_logits(logits, between))


def test_distillation_of_several_labels_is_binary_cross_entropy_with_the_teachers_probabilities(several):
    logits, labels = several
    teacher = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    student_rows, teacher_rows = (MULTILABEL.rows(x, labels)[0] for x in (logits, teacher))
    expected = F.binary_cross_entropy_with_logits(logits, teacher.sigmoid())
    torch.testing.assert_close(soft_cross_entropy(student_rows, teacher_rows), expected)


def test_mean_average_precision_is_that_of_torchmetrics():
    data = MultilabelData(num_classes=5)
    metrics, parts = data.metrics(), []
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        parts.append((torch.randn(8, 5, generator=g), (torch.rand(8, 5, generator=g) < 0.5).long()))
        metrics.update(*parts[-1])
    logits, labels = (torch.cat(part) for part in zip(*parts))
    expected = multilabel_average_precision(logits.sigmoid(), labels, num_labels=5)
    assert metrics.results()["map"] == pytest.approx(expected.item())


def test_what_a_task_counts():
    assert CLASSIFICATION.samples(torch.zeros(4, 3, 8, 8)) == 4
    assert LANGUAGE.samples(torch.zeros(4, 7)) == 28
    assert [task.unit for task in (CLASSIFICATION, LANGUAGE, MULTILABEL)] == ["image", "token", "image"]


def test_several_labels_are_not_mixed():
    with pytest.raises(WsnError, match="data.mixup=0"):
        MultilabelData(mixup=0.2)


def test_mosaics_have_the_labels_of_their_images():
    images, classes, *_ = packaged(SMALL)
    whole, labels = mosaics(images[:200], classes[:200])
    assert whole.shape == (200, 28, 28)
    assert labels.shape == (200, 10)
    tiles = (whole.reshape(200, 2, 14, 2, 14).max((2, 4)) > 0).sum((1, 2))
    assert (labels.sum(1) <= tiles).all()
    assert (labels.sum(1) >= 1).all()
    assert tiles.min() >= 2


def test_the_measure_of_rows():
    assert quality_of([{"acc": 0.5, "loss": 1.0}]) is ACCURACY
    assert quality_of([{"acc": 0.5, "bits_per_byte": 2.0}]) is BITS_PER_BYTE
    assert quality_of([{"map": 0.5, "acc": None}]) is MEAN_AP


def test_a_folder_says_which_measure_its_results_have(tmp_path):
    own = Quality("iou_of_a_test", "max", "IoU (%)", " %", 100, 0.0, (("IoU (%)", "iou_of_a_test", 100, 2),))
    write_quality(own, tmp_path)
    assert quality_of([{"iou_of_a_test": 0.3}]) is ACCURACY  # not known yet
    read_quality(tmp_path)
    assert quality_of([{"iou_of_a_test": 0.3}]) == own
    know(own)  # twice is once
    (tmp_path / "quality.json").write_text("{")
    with pytest.raises(WsnError, match="damaged"):
        read_quality(tmp_path)


@pytest.mark.parametrize("method", ["bignas", pytest.param("alphanet", marks=pytest.mark.slow)])
def test_a_third_task_trains_by_the_same_loop(tmp_path, method):
    cfg = compose(
        CONF,
        [
            f"method={method}", "backbone=mobilenet", "data=fashion_mnist_mosaic", "debug=fast", "scheduler=cosine",
            "trainer.limit_train_batches=2", "trainer.max_epochs=1", "data.eval_batch_size=500", "logger=csv",
            "callbacks=default", f"paths.run_dir={tmp_path}", "trainer.enable_progress_bar=false",
        ],
    )  # fmt: skip
    metrics = train(cfg)
    assert 0.1 < metrics["test/largest/map"] < 0.9
    assert "test/largest/acc" not in metrics
    assert json.loads((tmp_path / "quality.json").read_text())["key"] == "map"
    front = json.loads((tmp_path / "front.json").read_text())
    assert "map" in json.dumps(front)


def test_data_says_its_task():
    found = {name: build_data(compose(CONF, [f"data={name}"]).data).task.name for name in DATA}
    assert found == DATA


DATA = {
    "fashion_mnist_small": "classification",
    "fashion_mnist_mosaic": "multilabel",
}
