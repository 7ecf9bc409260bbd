"""Every key of a config does something: another value changes two optimizer steps, what is written, or is refused.

A key that is in none of the tables below fails :func:`test_every_key_is_in_a_table`, so none is added that nothing
reads.
"""

import copy
import functools
import re

import pytest
import torch
from helpers.configs import CONF, METHODS, OF_LANGUAGE, ROOT, TINY_LANGUAGE
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
from wsn.config import build, build_data, check, compose
from wsn.errors import WsnError
from wsn.files import read_csv
from wsn.logging.labels import label_of
from wsn.run.train import make_module, make_trainer

TINY = [
    "data=fashion_mnist_small",
    "data.hints={resolution:[16],reduction:8,width_mult:0.25,depth:[1,2],kernel:[3,5],expand:[2,3]}",
    "data.batch_size=8", "data.images_per_epoch=8", "data.val_size=40", "data.eval_batch_size=40",
    "data.calibration_images=8", "evaluation.panel=0", "evaluation.alone=null",
    "trainer.enable_progress_bar=false",
]  # fmt: skip
TWO_PHASES = [f"method.phases.{name}=null" for name in ("kernel", "depth_1", "depth_2", "expand_2")]
TWO_PHASES += ["method.phases.full.epochs=1", "method.phases.expand_1.roles=[random,random]"]

STEPS = {  # key → another value; numbers of the first optimizer steps of method=ofa
    "method.phases.full.epochs": 2,
    "method.phases.full.warmup_epochs": 0,
    "method.phases.full.lr_scale": 0.5,
    "method.phases.full.roles": ["max", "max"],
    "method.phases.expand_1.choices.expand": "top1",
    "method.phases.expand_1.order_channels": False,
    "method.phases.expand_1.fresh_optimizer": False,
    "method.phases.expand_1.continue_lr": True,
    "method.losses.max.labels": 0.5,
    "method.losses.random.distill": 0.5,
    "method.losses.random.target": None,
    "method.losses.max.dropout": False,
    "method.losses.max.weight": 2.0,
    "method.losses.random.balance": "max",
    "method.aggregation": "mean",
    "method.label_smoothing": 0.0,
    "method.teacher_mode": "eval",
    "method.distillation.temperature": 2.0,
    "method.init": None,
    "optim.lr": 0.01,
    "optim.weight_decay": 0.1,
    "optim.clip_norm": 0.01,
    "optim.clip_value": 0.001,
    "optim.accumulate": 2,
    "optim.optimizer.lr": 0.01,
    "optim.optimizer.momentum": 0.5,
    "optim.optimizer.nesterov": False,
    "sampler.shared": ["kernel", "expand"],
    "scheduler.warmup_from": 0.5,
    "data.hints.resolution": [24],
    "data.hints.reduction": 16,
    "data.hints.strides": [1, 2, 2, 2, 1, 1, 1],
    "data.hints.width_mult": 0.3,
    "data.hints.depth": [2],
    "data.hints.kernel": [3],
    "data.hints.expand": [2],
    "data.num_classes": 12,
    "data.image_size": 32,
    "data.images_per_epoch": 16,
    "data.val_size": 48,
    "data.crop_padding": 4,
    "data.flip": True,
    "data.batch_size": 4,
    "data.seed": 1,
    "data.mixup": 0.5,
    "data.cutmix": 0.5,
    "data.random_erasing": 1.0,
    "seed": 1,
}
ROWS = {  # key → another value; rows of subnets.csv
    "data.calibration_images": 4,
    "evaluation.named.largest": "smallest",
    "evaluation.panel": 1,
    "evaluation.every_n_epochs": 1,
    "evaluation.calibrate": False,
    "evaluation.last_epochs": 3,
    "evaluation.seed": 1,
}
PANEL = ("evaluation.panel", "evaluation.seed")  # hundreds of subnets are costed
BASES = {  # key → what else it needs
    "optim.clip_norm": ["optim.clip_value=null"],
    "evaluation.seed": ["evaluation.panel=1"],
}
NAMES = {"method.name": "other", "data.name": "other", "backbone.name": "other", "tags": ["x"]}  # folder and label
LOADER = {"data.eval_batch_size": 20, "data.num_workers": 1}  # of the same images
HELD_BY = {  # key → the test that holds it
    "method.phases.*.shrinks": "test_progressive_shrinking_leaves_out_what_a_space_lacks",
    "budget_gmacs": "test_a_budget_is_kept",
    "channels_last": "test_channels_last_is_the_memory_format",
    "evaluation.table": "test_subnets_of_a_table_are_candidates",
    "evaluation.alone": "test_ledgers_are_compared_as_run_folders_are",
    "evaluation.folder": "test_what_a_run_leaves",
    "data.test": "test_another_text_tests_a_network_of_the_packaged_one",
    "data.in_chans": "test_images_of_other_channels_are_refused",
    "ledger": "test_a_finished_job_is_not_run_again_when_its_folder_is_gone",
    "optimized_metric": "test_what_a_sweeper_is_told",
    "recipe_version": "test_a_finished_job_is_not_run_again_when_its_folder_is_gone",
    "resume": "test_a_killed_run_goes_on_as_if_nothing_had_happened",
    "sweep": "test_the_folder_is_that_of_the_overrides",
}
IMAGES = [*TINY, "method.phases.0.epochs=2"]
TEXT = [*TINY_LANGUAGE, "backbone.num_layers=2", "data.images_per_epoch=8", "data.eval_batch_size=2"]
ROUTED = [*TEXT, *[f"method.phases.{name}.epochs=1" for name in ("elastic", "router", "joint")]]
MORE = {  # method → its base, and the keys that once-for-all has not
    "alphanet": (
        IMAGES,
        {
            "method.callbacks.alpha_divergence.alpha_min": -0.5,
            "method.callbacks.alpha_divergence.alpha_max": 0.5,
            "method.callbacks.alpha_divergence.clip": 0.01,
        },
    ),
    "attentive_nas": (
        IMAGES,
        {"sampler.num_bins": 2, "sampler.pool": 20, "sampler.pick": "worst", "sampler.candidates": 1},
    ),
    "bignas": (IMAGES, {"scheduler.curve.floor": 0.5, "scheduler.curve.floor_at": 0.1}),
    "compofa": (TINY, {"method.follow.expand": None}),
    "deps": (
        [*TINY, "method.phases.largest_alone.epochs=1", "method.phases.shrinking.epochs=3"],
        {"method.callbacks.delayed_shrinking.ramp_epochs": 3, "method.callbacks.delayed_shrinking.multiplier": 0.5},
    ),
    "pa_da": (IMAGES, {"method.callbacks.data_importance.tau": 0.5, "sampler.tau": 0.5}),
    "spos": (
        [*IMAGES, "backbone=vit", "backbone.depth=[1]", "backbone.embed_dim=[96]"],
        {"data.hints.patch_size": 8},
    ),
    "plain": (IMAGES, {"method.subnet": "smallest"}),
    "slimmable": (IMAGES, {"method.subnets": ["largest"], "sampler.subnets": ["largest"]}),
    "sortednet": (IMAGES, {"sampler.levels": {"depth": 3, "expand": 2}}),
    "amoeba": (
        [*TEXT, "backbone.num_layers=4", "data.images_per_epoch=4", "method.selection.min_depth=2"],
        {
            "method.width": [0.5, 0.75, 1.0],
            "method.compensate": False,
            "method.selection.folder": None,
            "method.selection.cache": None,
            "method.selection.depth": "block_influence",
            "method.selection.width": "l1",
            "method.selection.min_depth": 3,
            "method.selection.keep_last": 2,
            "method.selection.metric": "acc",
            "method.selection.measure": {"_target_": "wsn.run.lm_eval.TaskAccuracy", "tokenizer": "x", "tasks": ["x"]},
            "method.selection.batches": 1,
            "method.base": "int3",
            "method.lora.experts": 3,
            "method.lora.top_k": 1,
            "method.lora.rank": 2,
            "method.lora.alpha": 64.0,
        },
    ),
    "llm_qfa": (
        [*TEXT, "method.phases.bits.epochs=2", "method.batches=1"],
        {
            "method.bits": [2, 3],
            "method.group": 16,
            "method.rounding": "nearest",
            "method.batches": 2,
            "method.cache": None,
            "method.rank": 2,
            "method.alpha": 64.0,
            "sampler.period": 2,
            "sampler.dimension": "ffn",
        },
    ),
    "flextron": (
        ROUTED,
        {
            "method.budgets": [0.25, 1.0],
            "sampler.budgets": [0.25, 1.0],
            "sampler.full": 1.0,
            "sampler.probabilities": {"joint": [0.0, 0.0, 1.0]},
            "method.router.hidden": 8,
            "method.router.std": 1.0,
            "method.gumbel.temperature": [2.0, 0.5],
            "method.gumbel.scale": [2.0, 3.0],
            "method.gumbel.hard": 0.0,
            "method.alpha": 9.0,
            "method.tolerance": 0.9,
            "method.router_lr": 1.0,
        },
    ),
    "flextron_dynamic": (
        ROUTED,
        {"method.surrogate.hidden": 8, "method.surrogate.threshold": 9.0, "method.surrogate_lr": 1.0},
    ),
    "nemotron_elastic": (
        [*TEXT, *[f"method.phases.{name}.epochs=1" for name in ("teacher", "uniform", "adjusted")]],
        {"method.teacher_at_start": True, "sampler.probabilities.adjusted": [0.0, 0.0, 1.0]},
    ),
    "matformer": (
        TEXT,
        {
            "sampler.dimension": "heads",
            "sampler.sampling": "all",
            "data.train": "nowhere.txt",
            "data.tokenizer": "nowhere",
            "data.vocab_size": 300,
            "data.sequence_length": 8,
            "data.pack": False,
            "optim.optimizer.betas": [0.5, 0.5],
        },
    ),
    "soft": (TEXT, {"method.chunk_tokens": 8, "sampler.exits": [1, 3]}),
}
SECTIONS = ("method", "optim", "sampler", "scheduler", "data", "evaluation")


def leaves(node, prefix=""):
    """Yield the keys whose values are no mappings; what is made of a mapping by its class is no knob."""
    for name, value in node.items_ex(resolve=False):
        key = f"{prefix}{name}"
        if isinstance(value, DictConfig):
            yield from leaves(value, f"{key}.")
        elif name not in ("_target_", "_partial_", "inputs"):
            yield key


def knobs(cfg):
    """Return the keys of the sections and of the top level."""
    top = [key for key in cfg if not OmegaConf.is_config(cfg._get_node(key)) or key == "tags"]
    return [*top, *(key for section in SECTIONS for key in leaves(cfg[section], f"{section}."))]


def pattern(key):
    """Return what the keys of all phases, roles, dimensions and named subnets have in common."""
    key = re.sub(r"^method\.(phases|losses)\.\w+", r"method.\1.*", key)
    return re.sub(r"(choices|follow|named|probabilities)\.\w+$", r"\1.*", key)


class Recorder(Callback):
    """Notes what Lightning logs of every batch, and the weights in the end."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, *_):
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name})

    def on_train_end(self, trainer, module):
        self.seen.append([p.double().sum().item() for p in module.supernet.parameters()])


def observe(cfg, folder, rows=False):
    """Return what a run of a config shows: numbers of its steps, or the rows that it writes."""
    cfg.paths.output_dir, cfg.paths.run_dir = str(folder), str(folder / "run")
    check(cfg)
    torch.manual_seed(cfg.seed)
    data, recorder = build_data(cfg.data), Recorder()
    module = make_module(cfg, data)
    callbacks = [ProgressiveShrinking(), *module.method.callbacks.values(), recorder]
    if rows:
        callbacks.append(build(cfg.evaluation))
        data.test_dataloader = data.val_dataloader  # of fewer images
    make_trainer(cfg.trainer, module, callbacks, []).fit(module, datamodule=data)
    return read_csv(folder / "run" / "subnets.csv") if rows else recorder.seen


def changed(cfg, key, value):
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        OmegaConf.update(cfg, key, value, merge=False)
    return cfg


@functools.cache
def base(*overrides):
    quiet = ["trainer.enable_progress_bar=false", "+trainer.enable_checkpointing=false", "trainer.log_every_n_steps=1"]
    return compose(CONF, [*quiet, *overrides])


def differs(cfg, key, value, folder, rows=False):
    """Tell whether another value changes what is seen; one that is refused does."""
    expected = seen(cfg, folder, rows)
    try:
        return observe(changed(cfg, key, value), folder / key, rows) != expected
    except (WsnError, TypeError) as error:
        print(f"{key} is refused: {error}")
        return True


@functools.lru_cache(maxsize=8)
def _seen(text, folder, rows):
    return observe(OmegaConf.create(text), folder / f"base-{abs(hash(text))}", rows)


def seen(cfg, folder, rows):
    return _seen(OmegaConf.to_yaml(cfg), folder, rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("knobs")


OFA = ["method=ofa", "evaluation.named={largest:largest}", *TINY, *TWO_PHASES]


@pytest.mark.parametrize("key", STEPS)
def test_steps_depend_on_it(key, folder):
    assert differs(base(*OFA, *BASES.get(key, ())), key, STEPS[key], folder)


@pytest.mark.parametrize("key", [pytest.param(k, marks=pytest.mark.slow if k in PANEL else ()) for k in ROWS])
def test_rows_depend_on_it(key, folder):
    assert differs(base(*OFA, *BASES.get(key, ())), key, ROWS[key], folder, rows=True)


@pytest.mark.parametrize("key", NAMES)
def test_the_run_is_called_by_it(key):
    def called(cfg):
        return label_of(cfg), re.sub(r"/[^/]*$", "", cfg.paths.run_dir)  # the folder itself is of the time

    assert called(changed(base(*OFA), key, NAMES[key])) != called(base(*OFA))


@pytest.mark.parametrize("key", LOADER)
def test_loaders_depend_on_it(key):
    def loader(cfg):
        data = build_data(cfg.data)
        data.setup("fit")
        loader = data.val_dataloader() if "eval" in key else data.train_dataloader()
        return loader.batch_size, loader.num_workers

    assert loader(changed(base(*OFA), key, LOADER[key])) != loader(base(*OFA))


@pytest.mark.parametrize("key", HELD_BY)
def test_another_test_holds_it(key):
    tests = (ROOT / "tests").rglob("test_*.py")
    assert any(f"def {HELD_BY[key]}(" in path.read_text() for path in tests)


def test_images_of_other_channels_are_refused(folder):
    with pytest.raises(WsnError, match="images of 1 channels.*set data.in_chans=1"):
        observe(changed(base(*OFA), "data.in_chans", 3), folder)


def test_channels_last_is_the_memory_format():
    for channels_last in (True, False):
        net = make_module(changed(base(*OFA), "channels_last", channels_last)).supernet
        assert net.model.conv_stem.weight.is_contiguous(memory_format=torch.channels_last) == channels_last or (
            net.model.conv_stem.weight.shape[1] == 1
        )


@pytest.mark.parametrize("method", [name for name in METHODS if name != "finetune"])
def test_every_key_is_in_a_table(method):
    cfg = base(f"method={method}", *(TINY_LANGUAGE if method in OF_LANGUAGE else TINY))
    tables = [STEPS, ROWS, NAMES, LOADER, HELD_BY, *(table for _, table in MORE.values())]
    known = {pattern(key) for table in tables for key in table}
    assert {pattern(key) for key in knobs(cfg)} <= known


@pytest.mark.slow
@pytest.mark.parametrize(("method", "key"), [(method, key) for method, (_, table) in MORE.items() for key in table])
def test_steps_of_other_methods_depend_on_it(method, key, tmp_path):
    small, table = MORE[method]
    assert differs(base(f"method={method}", *small), key, table[key], tmp_path)
