"""The commands that Hydra configures: each looks at its config at once, then imports what is heavy and runs."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from omegaconf import DictConfig

from wsn.config import CONF, check, command_line, main_errors, migrate, require_plugin
from wsn.config.ranges import VERBS, check_ranges
from wsn.config.trust import trusting
from wsn.errors import WsnError
from wsn.run.finetune import adopt_run
from wsn.run.folder import read_config
from wsn.run.job import in_sweep, objective, run_job
from wsn.run.known import check_spec, known_rows
from wsn.search.constraint import Constraint


def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Train, or in a multirun one job of it; return what a sweeper optimises."""
    metrics = run_job(cfg, checked_train) if in_sweep() else checked_train(cfg)
    return objective(cfg.optimized_metric, metrics) if in_sweep() else None


def checked_train(cfg: DictConfig) -> dict[str, float]:
    """Check the config at once, then import what is heavy and train."""
    cfg = adopt_run(migrate(cfg))
    check(cfg)
    from wsn.run.train import train

    return train(cfg)


def evaluate(cfg: DictConfig) -> None:
    """Look at the run folder at once, then evaluate."""
    _check_run(cfg)
    from wsn.run.evaluate import evaluate_run

    evaluate_run(cfg)


def search(cfg: DictConfig) -> None:
    """Look at the run folder and the constraints at once, then search."""
    _check_run(cfg)
    Constraint.parse_all(cfg.constraints)
    if cfg.name is not None and not re.fullmatch(r"\w[\w.@<=-]*", cfg.name):
        raise WsnError(f"name={cfg.name}: the name of a folder, of letters, digits, - and _. Set e.g. name=first")
    from wsn.run.search import search_run

    search_run(cfg)


def export(cfg: DictConfig) -> None:
    """Look at the run folder and the subnet at once, then export."""
    _check_run(cfg)
    check_spec(cfg.subnet)
    if cfg.search_name is not None:
        known_rows(cfg.run, cfg.search_name)
    from wsn.run.export import export_run

    export_run(cfg)


def _check_run(cfg: DictConfig) -> None:
    """Check the run folder of a verb, and its numbers."""
    read_config(cfg.run)
    check_ranges(cfg, VERBS)


TASKS: dict[str, Callable[[DictConfig], Any]] = {
    "train": train,
    "evaluate": evaluate,
    "search": search,
    "export": export,
}


@dataclass(frozen=True)
class Task:
    """A command as Hydra, its launchers and their processes call it.

    Args:
        name: of the command, and of its config.
        arguments: of the process, as they were typed.
    """

    name: str
    arguments: tuple[str, ...]

    def __call__(self, cfg: DictConfig) -> Any:
        """Run the command; a mistake is one line on stderr."""
        trusting(cfg.get("trust"))
        sys.argv = list(self.arguments)  # from which Lightning starts the other processes of DDP
        return main_errors(TASKS[self.name])(cfg)


def start(name: str, arguments: Sequence[str]) -> None:
    """Compose the config of a command and run it.

    Args:
        name: of the command.
        arguments: overrides and flags of Hydra.
    """
    typed = tuple(sys.argv)
    overrides = command_line(list(arguments), name)
    require_plugin(overrides)
    sys.argv = [typed[0], *overrides]  # which Hydra reads
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(Task(name, typed))()
    finally:
        sys.argv = list(typed)
