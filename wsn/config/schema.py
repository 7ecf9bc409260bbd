"""Types of what configs hold: a value of another type is refused by its key, before anything is imported."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from wsn.schedule import Phase, RoleLoss


@dataclass
class Verb:
    """Options of every command on a run folder; what they mean, and their defaults, are in its yaml."""

    run: str = MISSING
    trust: list[str] = MISSING
    checkpoint: str = MISSING
    split: str = MISSING
    data: Any = None
    paths: Any = None


@dataclass
class Evaluate(Verb):
    """Options of conf/evaluate.yaml."""

    subnet: Any = None
    panel: int = MISSING
    calibrate: bool = MISSING
    out: str = MISSING


@dataclass
class Search(Verb):
    """Options of conf/search.yaml."""

    evaluations: int = MISSING
    objectives: Any = None
    constraints: Any = None
    calibrate: bool = MISSING
    group: int = MISSING
    workers: int = MISSING
    seed: int = MISSING
    name: str | None = None
    cost: Any = None
    search: Any = None


@dataclass
class Export(Verb):
    """Options of conf/export.yaml."""

    subnet: Any = MISSING
    format: Any = MISSING
    search_name: str | None = None
    out: str | None = None
    latency: Any = None


def register_schema() -> None:
    """Type what every method has, its phases and the losses of its roles, and the options of the verbs.

    So each field can be overridden by its name, and a misspelt one is refused. ``conf/train.yaml`` and those of the
    verbs begin with it.
    """
    method = {
        "phases": DictConfig({}, key_type=str, element_type=Phase | None),
        "losses": DictConfig({}, key_type=str, element_type=RoleLoss | None),
        "callbacks": {},
    }
    store = ConfigStore.instance()
    store.store(name="schema", node={"method": method}, provider="wsn")
    store.store(group="part", name="loss", node=RoleLoss, provider="wsn")
    store.store(group="part", name="phase", node=Phase, provider="wsn")
    for verb in (Evaluate, Search, Export):
        store.store(name=f"{verb.__name__.lower()}_schema", node=verb, provider="wsn")
