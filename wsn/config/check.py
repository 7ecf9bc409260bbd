"""Checks of a training configuration that need no heavy import."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from wsn.config.ranges import check_flags, check_ranges
from wsn.errors import WsnError, listed
from wsn.schedule import phases_of
from wsn.space import Dimension
from wsn.space.kinds import KINDS

DIMENSIONS = {"resolution", *itertools.chain(*KINDS.values())}


def check(cfg: DictConfig) -> None:
    """Find mistakes in a training configuration before anything heavy is imported.

    Raises:
        WsnError: what was received, what is allowed, and which override mends it.
    """
    if cfg.get("resume") == "":
        raise WsnError("resume= has no value. Pass a run folder, resume=outputs/train/..., or leave it out")
    for key, value in (("tags", cfg.get("tags")), ("trust", cfg.get("trust"))):
        if value is not None and not isinstance(value, ListConfig | list):
            raise WsnError(f"{key} must be a list. Received {value!r}; set e.g. {key}=[{value}]")
    if not isinstance(cfg.method.name, str) or not cfg.method.name:
        raise WsnError(f"method.name must be a text. Received {cfg.method.name!r}; set e.g. method.name=mine")
    _check_task(cfg)
    _check_processes(cfg.trainer)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise WsnError(f"{missing[0]} has no value. Pass it on the command line: {missing[0]}=...")
    check_ranges(cfg)
    check_flags(cfg)
    _check_data_root(cfg)
    if cfg.method.phases is None or cfg.method.losses is None:
        raise WsnError(
            f"method={cfg.method.name} needs phases and losses. Set method.phases.NAME=null to leave one out"
        )
    choices = check_space(cfg.backbone)
    _check_dimensions(cfg, choices)
    phases_of(OmegaConf.to_container(cfg.method.phases))  # type: ignore[arg-type]
    for name, phase in cfg.method.phases.items():
        if phase is not None:
            _check_phase(name, phase, choices)
    _check_parts(cfg)


def _check_parts(cfg: DictConfig) -> None:
    """Check that every phase's roles have a loss, and learn from somebody who is there."""
    everywhere = {role for phase in cfg.method.phases.values() if phase is not None for role in phase.roles}
    for role, loss in cfg.method.losses.items():
        target = loss.target if loss is not None else None
        if target not in (None, "teacher", *everywhere):
            raise WsnError(
                f"method.losses.{role}.target={target}: nobody of that name is trained. Allowed: teacher, "
                f"{listed(sorted(everywhere))}"
            )
    for name, phase in cfg.method.phases.items():
        for role in phase.roles if phase is not None else ():
            known = [r for r, loss in cfg.method.losses.items() if loss is not None]
            kinds = {role, role.partition("_")[0], "default"}
            if not kinds & set(known):
                raise WsnError(
                    f"method.phases.{name}.roles has {role!r}, for which there is no loss; there are {listed(known)}. "
                    f"Add +method.losses.{role}={{labels: 1.0}}, or take other roles"
                )


def _check_task(cfg: DictConfig) -> None:
    """Check that backbone and data are both of images or both of text."""
    reads, has = cfg.backbone.get("inputs", "images"), cfg.data.get("inputs", "images")
    if (cfg.get("debug") or {}).get("inputs", reads) != reads:
        small, other = ("fast_language", "fast") if reads == "text" else ("fast", "fast_language")
        raise WsnError(f"backbone={cfg.backbone.name} reads {reads}, which debug={other} is not for. Set debug={small}")
    if reads != has:
        choose = "data=shakespeare, or data=text" if reads == "text" else "backbone=llama, or backbone=gpt2"
        raise WsnError(f"backbone={cfg.backbone.name} reads {reads}, data={cfg.data.name} has {has}. Set e.g. {choose}")


def _check_processes(trainer: DictConfig) -> None:
    """Check that several processes have a strategy that lets a step train a part of the network."""
    devices = trainer.get("devices", 1)
    count = len(devices) if isinstance(devices, ListConfig) else devices
    several = (isinstance(count, int) and count > 1) or trainer.get("num_nodes", 1) > 1
    if several and trainer.get("strategy") is None:
        given = f"trainer.devices={devices} trainer.num_nodes={trainer.get('num_nodes', 1)}"
        raise WsnError(
            f"{given} start several processes, and a step here trains only a part of the network, for which they need "
            f"another strategy. Add trainer=ddp (trainer.accelerator={trainer.get('accelerator', 'cpu')}) to it"
        )


def _check_data_root(cfg: DictConfig) -> None:
    """Check that the data folder is given, and exists where the data set cannot be downloaded."""
    root = cfg.data.get("root")
    if root is not None and not cfg.data.get("download", False) and not Path(root).expanduser().is_dir():
        raise WsnError(
            f"data.root: the folder {root} does not exist. Pass the folder that holds the data, data.root=/path, or "
            "take the packaged data: data=fashion_mnist_small"
        )


def check_space(backbone: Mapping[str, Any]) -> dict[str, set]:
    """Return the choices of each elastic dimension that a backbone node states, over all positions.

    Dimensions are the keys that are names of dimensions in wsn's own spaces; a backbone from elsewhere may have others,
    and the network may say what is null or ``full`` here: of those nothing is known before it is made.
    """
    choices: dict[str, set] = {}
    for name in DIMENSIONS & set(backbone):
        value: Any = backbone[name]
        if value is None or value == "full":
            continue
        value = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
        nested = isinstance(value, list) and value and isinstance(value[0], list)
        dimension = Dimension(name, value, len(value) if nested else 1)
        choices[name] = {c for position in dimension.choices for c in position}
    return choices


def _check_dimensions(cfg: DictConfig, choices: Mapping[str, set]) -> None:
    """Check that phases and followers name dimensions that there are, where wsn's own backbone and method say which."""
    plain = cfg.method.get("_target_") == "wsn.methods.base.Method"  # others may change the space
    if not plain or not str(cfg.backbone.get("_target_")).startswith("wsn.backbones."):
        return
    for follower, leader in (cfg.method.get("follow") or {}).items():
        if leader in KINDS and not any(name in cfg.backbone for name in KINDS[leader]):
            raise WsnError(
                f"method={cfg.method.name}: {follower} follow {leader}, and this backbone has no "
                f"{KINDS[leader][0]}; it has {listed(choices)}. Take another backbone, or another method"
            )
    for name in cfg.sampler.get("shared") or ():
        if name not in DIMENSIONS and name not in cfg.backbone:
            raise WsnError(f"sampler.shared: there is no dimension {name!r}. Allowed: {listed(sorted(DIMENSIONS))}")
    for name, phase in cfg.method.phases.items():
        wanted = phase.choices if phase is not None else {}
        unknown = [d for d, values in wanted.items() if values is not None and d not in cfg.backbone and d not in KINDS]
        if unknown:
            raise WsnError(
                f"method.phases.{name}.choices restricts {unknown[0]!r}, which this backbone does not have; it has "
                f"{listed(choices)}. Take another backbone, or another method"
            )


def _check_phase(phase: str, values: Mapping[str, Any], choices: Mapping[str, set]) -> None:
    """Check a phase by what the config knows of the space; what it does not know, the space itself judges later."""
    for name, wanted in values["choices"].items():
        if wanted is not None and name in KINDS and not re.fullmatch(r"top[1-9]\d*", str(wanted)):
            raise WsnError(
                f"method.phases.{phase}.choices.{name}: of a kind of dimensions, choices are top1, top2 ... Received "
                f"{wanted!r}; name one dimension to say its values: {listed(KINDS[name])}"
            )
        if wanted is None or not choices.get(name):
            continue
        if isinstance(wanted, str):  # top1, top2 ...
            Dimension(name, sorted(choices[name])).restrict(wanted)
            continue
        wanted = wanted if isinstance(wanted, ListConfig | list) else [wanted]
        flat = [v for value in wanted for v in (value if isinstance(value, ListConfig | list) else [value])]
        unknown = [v for v in flat if v not in choices[name]]
        if unknown:
            raise WsnError(
                f"method.phases.{phase}.choices asks for {name} {listed(unknown)}, which the backbone does not "
                f"have: backbone.{name} is {listed(sorted(choices[name]))}. Make them agree, or write top1, top2 ... "
                "for the largest choices, whatever they are"
            )
