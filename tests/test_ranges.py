"""Numbers that make no sense are refused by name, with an override that would do, before torch is imported."""

import dataclasses
import math

import pytest
import yaml
from helpers.configs import CONF, composed
from helpers.scripts import without_torch
from omegaconf import OmegaConf

from wsn import WsnError
from wsn.config import compose
from wsn.config.check import check
from wsn.config.command_line import command_line
from wsn.config.ranges import FLAGS, RANGES, VERBS, Range, check_ranges
from wsn.schedule import Phase, RoleLoss

BAD = [
    "data.batch_size=7.5", "data.images_per_epoch=many", "data.images_per_epoch=0", "data.val_size=0.1", "seed=-1",
    "seed=abc", "seed=1e20", "method.label_smoothing=2", "method.label_smoothing=-1", "data.num_workers=-1",
    "data.calibration_images=0", "data.calibration_images=-3", "backbone.drop_rate=1.5", "data.image_size=0",
    "data.image_size=-8", "data.num_classes=0", "optim.lr=-0.1", "optim.lr=.nan", "optim.weight_decay=-1",
    "optim.clip_norm=-1", "optim.clip_norm=0", "data.mixup=-0.5", "optim.accumulate=1.5", "optim.accumulate=0",
    "data.random_erasing=5", "evaluation.panel=-1", "backbone.resolution=1", "backbone.resolution=[1,28]",
    "method.phases.full.epochs=0", "method.phases.full.lr_scale=-1", "method.losses.max.labels=-1",
    "callbacks.checkpoint.every_n_steps=0", "trainer.max_epochs=0", "data.batch_size=true", "budget_gmacs=0",
    "seed=[1,2]", "trainer.limit_train_batches=0", "trainer.limit_train_batches=-3",
    "data=imagefolder data.crop_scale_min=0",
    "data=imagefolder data.crop_pct=1.5",
    "backbone=vit backbone.drop_path_rate=1",
]  # fmt: skip


def changed(given):
    """Return the config of overrides: the last one is put into what the others compose, which is composed once."""
    *others, last = given.split()
    key, _, value = last.partition("=")
    groups = [tuple(other.split("=")) for other in others[:1]] or [("backbone", "mobilenet")]
    cfg = composed(*groups[0], "method=ofa")
    OmegaConf.update(cfg, key, yaml.safe_load(value))
    return key, cfg


@pytest.mark.parametrize("given", BAD)
def test_a_number_out_of_range_is_refused_by_name(given):
    key, cfg = changed(given)
    with pytest.raises(WsnError) as error:
        check(cfg)
    text = str(error.value)
    assert text.startswith(f"{key} must be a")
    assert "Received" in text
    assert "\n" not in text
    mended = text.rpartition("set e.g. ")[2]
    check_ranges(changed(" ".join([*given.split()[:-1], mended]))[1])  # what it says to type is right


@pytest.mark.parametrize("given", ["data.batch_size=7.5", "method.phases.0.epochs=1.5", "evaluation.panel=-1"])
def test_it_needs_no_torch_and_shows_no_traceback(given):
    done = without_torch("train.py", given)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert given.partition("=")[0].rpartition(".")[2] in done.stderr


def test_every_range_is_of_a_key_that_there_is():
    keys = set(yaml.safe_load((CONF / "train.yaml").read_text()))
    for group in ("data", "backbone", "optim", "scheduler", "method", "evaluation", "callbacks", "trainer"):
        for path in (CONF / group).glob("*.yaml"):
            found = yaml.safe_load(path.read_text()) or {}
            keys |= {f"{group}.{key}" for key in found.get(group, found) or {}}
            keys |= {f"{group}.{k}.{key}" for k, v in found.items() if isinstance(v, dict) for key in v}
    keys |= {f"method.phases.*.{field.name}" for field in dataclasses.fields(Phase)}
    keys |= {f"method.losses.*.{field.name}" for field in dataclasses.fields(RoleLoss)}
    assert set(RANGES) <= keys


def test_ranges():
    for value, allowed in [(0, Range(0)), (None, Range(null=True)), (0.5, Range(0, 1)), (3, Range(whole=True))]:
        assert value in allowed
    for value, allowed in [
        (0, Range(0, open_low=True)), (1, Range(0, 1, open_high=True)), (None, Range()), (True, Range(0)),
        (math.nan, Range()), (math.inf, Range()), (2.0, Range(whole=True)), ("1", Range()),
    ]:  # fmt: skip
        assert value not in allowed
    assert str(Range(0, 1, open_high=True)) == "a number of at least 0 and below 1"
    assert str(Range(1, whole=True, null=True)) == "a whole number of at least 1, or null"


def test_named_subnets_are_named_without_a_plus():
    cfg = compose(CONF, ["evaluation.named.tiny=smallest", "evaluation.named.middle=null"])
    assert cfg.evaluation.named.tiny == "smallest"
    assert cfg.evaluation.named.middle is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("data.flip=maybe", "data.flip must be true or false. Received 'maybe'"),
        ("channels_last=1", "channels_last must be true or false"),
        ("tags=abc", "tags must be a list"),
        ("trust=mylab", "trust must be a list"),
        ("method.name=''", "method.name must be a text"),
        ("method.phases=null", "needs phases and losses"),
        ("method.losses.random.target=nobody", "Allowed: teacher, max, min, random"),
        ("sampler.shared=[wings]", "there is no dimension 'wings'"),
        ("resume=''", "resume= has no value"),
        ("trainer.devices=2", "Add trainer=ddp"),
    ],
)
def test_what_is_no_number_is_refused_too(given, words):
    with pytest.raises(WsnError, match=words.replace(".", r"\.")):
        check(changed(given)[1])


def test_flags_are_all_that_the_configs_have():
    """A flag that is in no list would take any value."""
    found = set()
    for path in CONF.rglob("*.yaml"):
        group = path.relative_to(CONF).parts[0].removesuffix(".yaml")
        if group in ("experiment", "debug", "launcher", "hydra", "evaluate", "search", "export", "hparams_search"):
            continue
        text = path.read_text()
        prefix = "" if group == "train" or "# @package _global_" in text else f"{group}."
        found |= {f"{prefix}{key}" for key in flags(yaml.safe_load(text))}
    typed = {key for key in found if key.startswith(("method.phases.", "method.losses.", "trainer.strategy."))}
    assert found - typed - {"backbone.pretrained"} <= set(FLAGS)  # pretrained may be a path


def flags(node, prefix=""):
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, bool) and not str(key).startswith("_"):
            yield f"{prefix}{key}"
        yield from flags(value, f"{prefix}{key}.")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["method=offa"], ["method=offa: there is no such config", "Did you mean method=ofa?"]),
        (["-m", "method=ofa,bignass", "seed=0"], ["Did you mean method=bignas?"]),
        (["logger=null"], ["Allowed: csv, mlflow, tensorboard, wandb"]),
        (["experiment=proving_ground/cn"], ["Did you mean experiment=proving_ground/cnn?"]),
    ],
)
def test_a_config_that_is_not_there_is_one_line(given, words, capsys):
    with pytest.raises(SystemExit):
        command_line(given)
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words)
    assert command_line(["debug=null", "experiment=null", "method=ofa"])


@pytest.mark.parametrize("key", VERBS)
def test_options_of_verbs_have_ranges_too(key):
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, key, -1)
    with pytest.raises(WsnError, match=f"{key} must be a"):
        check_ranges(cfg, VERBS)
