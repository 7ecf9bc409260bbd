"""Sweeps: one folder for all jobs of a multirun, found again by the same command, with an index of its jobs."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wsn.errors import WsnError

RECORD = "job.json"  # in each job's folder
INDEX = "sweep.csv"  # in the sweep's
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # set where something else has made the processes
GROUPS = ("method", "backbone", "data")
LAUNCHER = "WSN_LAUNCHER"
"""Environment variable: the process whose workers run a sweep's jobs."""
OUTSIDE = ("sweep", "launcher")  # overrides that do not change what a job computes


class SweepFolder(Callback):
    """Give a multirun its folder, ``<output_dir>/sweeps/<sweep>/<job>``, and tell how its jobs ended.

    Without ``sweep=NAME`` the name comes from the overrides, so that the same command finds the same folder; a job's
    name comes from its method, backbone and data, where they are given, and from the values that are swept. In
    ``conf/train.yaml`` under ``hydra.callbacks``.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Set the folders, for the launcher and in every job's config; refuse what cannot work before any job."""
        os.environ[LAUNCHER] = str(os.getpid())
        try:
            refuse_subprocesses(config)
        except WsnError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        given = list(config.hydra.overrides.task)
        swept = [*swept_keys(given), *(config.hydra.sweeper.get("params") or {})]
        name = config.sweep or sweep_name(given, swept)
        settings = {
            "hydra.sweep.dir": f"{config.paths.output_dir}/sweeps/{name}",
            "hydra.sweep.subdir": "${wsn.job:${hydra.overrides.task},'" + " ".join(naming_keys(given, swept)) + "'}",
            "sweep": name,
        }
        named = {o.partition("=")[0] for o in [*given, *config.hydra.overrides.hydra]}
        with read_write(config), open_dict(config):
            for key, value in settings.items():
                if key not in named:
                    OmegaConf.update(config, key, value)
                    config.hydra.overrides.hydra.append(f'{key}="{value}"')

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the jobs; exit with 1 if one failed."""
        folder = Path(config.hydra.sweep.dir)
        records = write_index(folder)
        print_records(records, folder)
        if any(r["status"] != "done" for r in records.values()):
            sys.exit(1)


def refuse_subprocesses(cfg: DictConfig) -> None:
    """Refuse processes that Lightning would start by running the whole command, and so the whole sweep, again.

    Raises:
        WsnError: with the ways that work.
    """
    strategy = cfg.trainer.get("strategy")
    if strategy is None or cfg.trainer.devices in (1, "1"):
        return
    starts, method = (strategy, strategy) if isinstance(strategy, str) else (strategy._target_, strategy.start_method)
    if "spawn" in method or "fork" in method or any(name in os.environ for name in RANKS):
        return
    if OmegaConf.select(cfg, "hydra.launcher.tasks_per_node", default=1) > 1:
        return
    raise WsnError(
        f"trainer.strategy={starts} starts its other processes by running the command again, and in a multirun "
        "that is the whole sweep. Use trainer=ddp_spawn, or let the launcher make the processes: launcher=submitit "
        "(or slurm) hydra.launcher.tasks_per_node=N, or start the command with torchrun"
    )


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys of the overrides that have several values.

    >>> swept_keys(["method=ofa,bignas", "seed=range(3)", "data.root=x", "optim.lr=choice(1)"])
    ['method', 'seed']
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    swept = [o for o in parsed if o.is_sweep_override()]
    return [str(o.key_or_group) for o in swept if len(list(o.sweep_string_iterator())) > 1]


def naming_keys(overrides: Sequence[str], swept: Sequence[str]) -> list[str]:
    """Return the keys that name a job, in an order that does not depend on the command's: groups first, seed last.

    So a sweep that is given one more method later has its jobs beside the others.

    >>> naming_keys(["seed=0,1", "method=ofa", "budget_gmacs=20"], ["seed"])
    ['method', 'seed']
    """
    given = {o.partition("=")[0] for o in overrides}
    keys = {*swept, *(given & set(GROUPS))}
    return sorted(keys, key=lambda key: (key == "seed", GROUPS.index(key) if key in GROUPS else len(GROUPS), key))


def sweep_name(overrides: Sequence[str], swept: Sequence[str]) -> str:
    """Return a name that the same overrides, in any order and with any launcher, have again.

    >>> sweep_name(["seed=0,1", "method=ofa", "launcher=joblib"], ["seed"])
    'seed-fd8214'
    """
    computed = sorted(o for o in overrides if o.partition("=")[0] not in OUTSIDE)
    digest = hashlib.sha256("\n".join(computed).encode()).hexdigest()[:6]
    return "-".join([*sorted(_short(swept).values()), digest])


def job_name(overrides: Sequence[str], swept: str) -> str:
    """Return the folder name of a job: short names of the swept keys with their values.

    >>> job_name(["method=ofa", "optim.lr=0.1", "data.root=x"], "method optim.lr")
    'method-ofa_lr-0.1'
    """
    values = dict(o.lstrip("+~").partition("=")[::2] for o in overrides)
    short = _short(swept.split())
    full = "_".join(f"{short[key]}-{values.get(key, '')}" for key in swept.split()) or "job"
    safe = re.sub(r"[^A-Za-z0-9.+_-]+", "-", full)[:100]
    return safe if safe == full else f"{safe}-{hashlib.sha256(full.encode()).hexdigest()[:4]}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return key → its last part where that is no other key's, else the whole."""
    last = [re.split(r"[./]", key)[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last)}


OmegaConf.register_new_resolver("wsn.job", job_name, replace=True)


def read_record(job: Path) -> dict[str, Any] | None:
    """Return what a job's folder says about it, or None."""
    try:
        return json.loads((job / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def write_index(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Write ``sweep.csv``, a row per job: status, overrides, seconds, metrics, error; return name → record."""
    from wsn.files import write_csv

    found = {path.parent.name: read_record(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))}
    records = {name: record for name, record in found.items() if record is not None}
    rows = [
        {
            "job": name,
            "status": r["status"],
            "overrides": " ".join(r["overrides"]),
            "seconds": round(r["seconds"], 1),
            **r["metrics"],
            "error": r["error"],
        }
        for name, r in records.items()
    ]
    if rows:
        write_csv(folder / INDEX, rows)
    return records


def print_records(records: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Print a table of the jobs, and what can be done with them."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("job", overflow="fold"), "status", "minutes", "test hypervolume", title=str(folder), box=box.SIMPLE_HEAD
    )
    for name, r in records.items():
        volume = r["metrics"].get("test/hypervolume")
        colour = {"done": "green", "failed": "red"}.get(r["status"], "yellow")
        shown = "" if volume is None else f"{volume:.4f}"
        table.add_row(name, f"[{colour}]{r['status']}", f"{r['seconds'] / 60:.1f}", shown)
    console = Console()
    console.print(table)
    unfinished = [name for name, r in records.items() if r["status"] != "done"]
    if unfinished:
        text = f"{len(unfinished)} of {len(records)} jobs are not done; the same command runs those again"
        console.print(text, markup=False)
    console.print(f"Index: {folder / INDEX}   Compare: wsn compare runs={folder}", markup=False, soft_wrap=True)
