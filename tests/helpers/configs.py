"""Configs of conf/: every option with what it cannot do without, and small settings."""

import copy
import functools
from pathlib import Path

from wsn.config import compose

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
METHODS = [p.stem for p in sorted((CONF / "method").glob("*.yaml"))]
SAMPLERS = [p.stem for p in sorted((CONF / "sampler").glob("*.yaml"))]
GROUPS = ["method", "backbone", "sampler", "optim", "scheduler", "callbacks", "evaluation", "logger", "trainer", "data"]
OPTIONS = [(g, p.stem) for g in GROUPS for p in sorted((CONF / g).glob("*.yaml"))]
AFTER = [(g, p.stem) for g in ("search", "cost") for p in sorted((CONF / g).glob("*.yaml"))]  # training
EXPERIMENTS = [
    ("experiment", p.relative_to(CONF / "experiment").with_suffix("").as_posix())
    for p in sorted((CONF / "experiment").rglob("*.yaml"))
]
DEBUG = [("debug", p.stem) for p in sorted((CONF / "debug").glob("*.yaml"))]
LANGUAGE = ["backbone=llama", "data=shakespeare"]
MISSING = {
    "imagenet": ["data.root=."],
    "imagefolder": ["data.root=.", "data.num_classes=10"],
    "text": ["data.train=.", "backbone=llama", "method=spos"],
    "shakespeare": ["backbone=llama", "method=spos"],
    **dict.fromkeys(("llama", "gpt2", "qwen2", "qwen3"), ["data=shakespeare"]),
    "soft": LANGUAGE,
    "amoeba": LANGUAGE,
    "amoeba_llama": ["backbone.model_dir=.", "data.train=."],
    "amoeba_smollm2": ["backbone.model_dir=."],
    "llm_qfa": LANGUAGE,
    "llm_qfa_llama": ["backbone.model_dir=.", "data.train=."],
    "llm_qfa_smollm2": ["backbone.model_dir=."],
    "matformer": LANGUAGE,
    "flextron": LANGUAGE,
    "flextron_dynamic": LANGUAGE,
    "nemotron_elastic": LANGUAGE,
    "soft_llama": ["backbone.model_dir=.", "data.train=."],
    "matformer_olmo": ["data.train=."],
    **dict.fromkeys(
        ("flextron_llama", "flextron_dynamic_llama", "nemotron_elastic_llama"),
        ["backbone.model_dir=.", "data.train=."],
    ),
    "fast_language": [*LANGUAGE, "method=spos"],
    "finetune": ["run=."],
}


def composed(group, name, *overrides):
    """Return the config of train.py with this option of a group."""
    extra = MISSING.get(name, []) + (["data.root=."] if group == "experiment" and "imagenet" in name else [])
    extra += ["method=spos"] if group == "backbone" else []  # which restricts no dimension
    return copy.deepcopy(_composed((f"{group}={name}", *extra, *overrides)))


@functools.cache
def _composed(overrides):
    return compose(CONF, list(overrides))  # a quarter of a second, thirty times what a copy takes


TINY_IMAGES = [
    "backbone.width_mult=0.2",
    "backbone.resolution=[16,24]",
    "data.batch_size=8",
    "data.images_per_epoch=24",
    "data.val_size=40",
]
TINY_LANGUAGE = [
    "backbone=llama",
    "data=shakespeare",
    "data.images_per_epoch=8",
    "data.batch_size=4",
    "data.val_size=8",
    "data.sequence_length=16",
    "backbone.num_layers=3",
    "backbone.hidden_size=32",
    "backbone.ffn_size=64",
    "optim=adamw",
    "optim.clip_norm=null",
]
OF_LANGUAGE = ["soft", "matformer", "amoeba", "flextron", "flextron_dynamic", "nemotron_elastic", "llm_qfa"]
