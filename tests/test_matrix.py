"""Every method trains one backbone of each family, or says in one line why not (docs/data/matrix.csv)."""

import sys

import pytest
from helpers.configs import CONF, METHODS
from helpers.training import train_a_little

from wsn import WsnError
from wsn.config import compose
from wsn.config.check import check
from wsn.files import read_csv

sys.path.insert(0, str(CONF.parent / "docs"))
import tables  # noqa: E402

IMPOSSIBLE = {(r["method"], r["backbone"]): r["reason"] for r in read_csv(CONF.parent / "docs/data/matrix.csv")}
IMAGES = ["backbone.resolution=[24]", "data=fashion_mnist_small"]
FAMILIES = {
    "mobilenet": [*IMAGES, "backbone.width_mult=0.2"],
    "attentive_mobilenet": IMAGES,
    "resnet50": [*IMAGES, "backbone.width_mult=0.25"],
    "timm_cnn": [*IMAGES, "backbone.model=resnet18"],
    "slimmable": IMAGES,
    "vit": [*IMAGES, "backbone.depth=[2,3]", "backbone.patch_size=[8]", "backbone.embed_dim=[96,192]"],
    "autoformer": [
        *IMAGES, "backbone.depth=[2,3]", "backbone.patch_size=[8]", "backbone.embed_dim=[48,64]",
        "backbone.heads=[1,2]",
    ],
    "llama": [
        "data=shakespeare", "data.sequence_length=16", "backbone.num_layers=3", "backbone.hidden_size=32",
        "backbone.ffn_size=64",
    ],
}  # fmt: skip
TRAINED = [m for m in METHODS if m != "finetune"]  # from scratch
PAIRS = [(method, family) for method in TRAINED for family in FAMILIES]
SAMPLE = {("ofa", "vit"), ("ofa", "slimmable"), ("compofa", "resnet50"), ("matformer", "vit"), ("pa_da", "llama")}


def test_the_matrix_speaks_of_what_there_is():
    assert set(PAIRS) >= set(IMPOSSIBLE)
    assert tuple(FAMILIES) == tables.FAMILIES  # what docs/methods.md shows is what is trained


@pytest.mark.parametrize(
    ("method", "family"), [p if p in SAMPLE else pytest.param(*p, marks=pytest.mark.slow) for p in PAIRS]
)
def test_every_method_trains_a_backbone_of_each_family(method, family, tmp_path):
    few = ["data.images_per_epoch=4", "data.batch_size=4", "data.val_size=8"]
    files = [f"paths.output_dir={tmp_path}", f"paths.run_dir={tmp_path}/run"]
    plain = ["method.subnet=smallest"] if method == "plain" else []
    cfg = compose(CONF, [f"method={method}", f"backbone={family}", *FAMILIES[family], *few, *files, *plain])

    def train():
        check(cfg)
        train_a_little(cfg)

    if reason := IMPOSSIBLE.get((method, family)):
        with pytest.raises(WsnError) as refusal:
            train()
        assert reason in str(refusal.value)
        assert "\n" not in str(refusal.value)
    else:
        train()
