"""Run folders as a comparison reads them: quickly, and only what it needs."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wsn.errors import WsnError, listed
from wsn.evaluation.quality import Quality, quality_of, quality_of_metrics, read_quality
from wsn.logging.labels import label_of
from wsn.logging.ledger import is_ledger, read_ledger

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KEYS = ("method", "seed")
COLUMNS = ("id", "kind", "arch", "macs", "params", "latency_ms", "quality")
STATUS = {"running": "is still running", "failed": "failed", "interrupted": "was interrupted"}


@dataclass
class Run:
    """A finished run: where it is, what it trained, and the subnets of its last evaluation on the test split.

    Args:
        folder: as it was given, so that commands made from it work where ``wsn compare`` was started.
        label: the method with its tags; runs that differ in their seed alone share it.
        alone: whether it trained one subnet by itself (``method=plain``).
        seed: of the run.
        quality: the measure of its task.
        data: name of the data set.
        backbone: name of the backbone.
        subnets: column → values: ``id``, ``kind``, ``arch``, ``macs``, ``params``, ``latency_ms`` (None where it was
            not measured), ``quality`` (as :meth:`Quality.shown`).
        config: flattened, see :func:`flatten`.
        overrides: of the job, where it was one of a sweep.
        gmacs: spent in training; None where it was not logged.
        minutes: that training took; None where it is not known.
        dropped: number of subnets without a finite quality.
        epochs: held-out qualities after each of the last evaluated epochs: epoch → subnet's id → quality.
    """

    folder: str
    label: str
    alone: bool
    seed: int
    quality: Quality
    data: str | None
    backbone: str | None
    subnets: dict[str, list[Any]]
    config: dict[str, Any]
    overrides: tuple[str, ...]
    gmacs: float | None
    minutes: float | None
    dropped: int = 0
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.subnets["id"])


class UnfinishedError(Exception):
    """Why a folder is left out."""


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Run], dict[str, str]]:
    """Read the finished runs in these folders, at any depth.

    Returns:
        the runs, and folder → why it was left out.

    Raises:
        WsnError: a folder that does not exist, or no finished run.
    """
    places = [Path(path) for path in paths]
    for path in places:
        if not path.is_dir():
            raise WsnError(f"The folder {path} does not exist. Pass run folders or a sweep's, outputs/...")
    folders = {folder.resolve(): folder for path in places for folder in _folders(path)}
    runs, skipped = [], {}
    for folder in folders.values():
        try:
            runs += ledger_runs(folder) if is_ledger(folder) else [read_run(folder)]
        except (UnfinishedError, WsnError) as reason:
            skipped[str(folder)] = " ".join(str(reason).split())
        except (ValueError, LookupError, TypeError, AttributeError, OSError, csv.Error) as error:  # of damaged files
            skipped[str(folder)] = f"damaged: {type(error).__name__}: {' '.join(str(error).split())[:150]}"
    if not runs:
        why = "".join(f"\n  {folder}: {reason}" for folder, reason in list(skipped.items())[:12])
        raise WsnError(
            f"No finished run in {listed(places)}; a finished one has config.yaml, and test rows in subnets.csv{why}"
        )
    _tell_apart(runs)
    return runs, skipped


def _folders(path: Path) -> Iterator[Path]:
    """Yield folders that hold a run, a job or a ledger; what is inside a run (searches, exports) is its own."""
    for where, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if "config.yaml" in files or "job.json" in files or is_ledger(Path(where)):
            yield Path(where)
            folders.clear()


def read_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        UnfinishedError: the text says why it cannot be compared.
    """
    job = _job(folder)
    if job.get("status", "done") != "done":
        raise UnfinishedError(
            " ".join(f"its job {STATUS.get(job['status'], job['status'])}. {job.get('error') or ''}".split())
        )
    cfg = _config(folder)
    read_quality(folder)
    quality, rows, epochs = _rows(folder / "subnets.csv")
    kept = [row for row in rows if math.isfinite(row[-1])]
    if not kept:
        raise UnfinishedError(f"no subnet has a finite {quality.name}")
    columns = dict(zip(COLUMNS, map(list, zip(*kept))))
    latencies = _searched_latencies(folder)
    columns["latency_ms"] = [latencies.get(i) if v is None else v for i, v in zip(columns["id"], columns["latency_ms"])]
    return Run(
        folder=str(folder),
        label=label_of(cfg),
        alone=cfg["method"]["name"] == "plain",
        seed=cfg["seed"],
        quality=quality,
        data=(cfg.get("data") or {}).get("name"),
        backbone=(cfg.get("backbone") or {}).get("name"),
        subnets=columns,
        config=flatten(cfg, str((cfg.get("paths") or {}).get("run_dir") or folder)),
        overrides=tuple(job.get("overrides") or ()),
        gmacs=_last_number(folder / "metrics.csv", "train/gmacs_spent"),
        minutes=_minutes(folder, job),
        dropped=len(rows) - len(kept),
        epochs=epochs,
    )


def ledger_runs(folder: Path) -> list[Run]:
    """Return the runs of a ledger, see :mod:`wsn.logging.ledger`."""
    found = []
    read_quality(folder)
    for run in read_ledger(folder):
        quality = quality_of(run["rows"])
        tests = [row for row in run["rows"] if row["split"] == "test"]
        epochs: dict[int, dict[str, float]] = {}
        for row in run["rows"]:
            if row["split"] == "val":
                epochs.setdefault(row["epoch"], {})[row["id"]] = quality.shown(row)
        columns: dict[str, list[Any]] = {name: [row.get(name) for row in tests] for name in COLUMNS[:-1]}
        columns["quality"] = [quality.shown(row) for row in tests]
        found.append(
            Run(
                folder=str(folder / run["job"]),
                label=run["label"],
                alone=run["label"].partition("+")[0] == "plain",
                seed=run["seed"],
                quality=quality,
                data=run["data"],
                backbone=run["backbone"],
                subnets=columns,
                config={"recipe_version": run["recipe"]},
                overrides=run["overrides"],
                gmacs=run["train/gmacs_spent"],
                minutes=run["seconds"] / 60,
                epochs=epochs,
            )
        )
    return found


def _job(folder: Path) -> dict[str, Any]:
    try:
        job = json.loads((folder / "job.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return job if isinstance(job, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    try:
        cfg = yaml.load((folder / "config.yaml").read_bytes(), Loader)  # noqa: S506
    except OSError as error:
        raise UnfinishedError(f"config.yaml cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UnfinishedError("config.yaml is not YAML") from error
    if not isinstance(cfg, dict) or any(k not in cfg for k in KEYS) or "name" not in (cfg["method"] or {}):
        raise UnfinishedError("config.yaml is not a training run's: it has no method.name and seed")
    if not isinstance(cfg["seed"], int):
        raise UnfinishedError(f"config.yaml is damaged: its seed is {cfg['seed']!r}")
    return cfg


def _rows(path: Path) -> tuple[Quality, list[tuple], dict[int, dict[str, float]]]:
    """Return the measure, the last evaluation on the test split as :data:`COLUMNS`, and held-out qualities by epoch.

    Raises:
        UnfinishedError: there are no test rows.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            head = {name: i for i, name in enumerate(next(reader, []))}
            whole = [row for row in reader if len(row) == len(head)]
    except OSError:
        raise UnfinishedError("unfinished: it has no subnets.csv") from None
    if any("\0" in cell for row in whole for cell in row):
        raise UnfinishedError("subnets.csv is damaged: it has NUL bytes")
    split = head.get("split", 0)
    rows = [row for row in whole if row[split] == "test"]
    if not rows:
        raise UnfinishedError("unfinished: subnets.csv has no test rows")
    quality = quality_of_metrics([name for name, i in head.items() if rows[-1][i]])
    lacking = [name for name in ("id", "macs", "params", quality.key) if name not in head]
    if lacking:
        raise UnfinishedError(f"subnets.csv has no column {listed(lacking)}")
    last = rows[-1][head["step"]] if "step" in head else None
    unique = {row[head["id"]]: row for row in reversed(rows) if last is None or row[head["step"]] == last}
    epochs: dict[int, dict[str, float]] = {}
    if "epoch" in head:
        for row in whole:
            if row[split] == "val" and row[head["epoch"]] and row[head[quality.key]]:
                shown = quality.scale * float(row[head[quality.key]])
                epochs.setdefault(int(row[head["epoch"]]), {})[row[head["id"]]] = shown
    return quality, [_subnet(row, head, quality) for row in reversed(unique.values())], epochs


def _subnet(row: Sequence[str], head: Mapping[str, int], quality: Quality) -> tuple:
    def text(name: str) -> str:
        return row[head[name]] if name in head else ""

    latency = text("latency_ms")
    return (
        text("id"), text("kind"), text("arch") or "{}", int(float(text("macs"))), int(float(text("params"))),
        float(latency) if latency else None, quality.scale * float(text(quality.key) or "nan"),
    )  # fmt: skip


def _searched_latencies(folder: Path) -> dict[str, float]:
    """Return subnet id → latency as the run's searches measured it: it does not depend on the split."""
    found = {}
    for path in sorted(folder.glob("search/*/evaluations.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("latency_ms"):
                    found[row["id"]] = float(row["latency_ms"])
    return found


def _last_number(path: Path, column: str) -> float | None:
    """Return the largest value of a column that only grows; None where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            if column not in head:
                return None
            at = head.index(column)
            return max((float(row[at]) for row in reader if len(row) > at and row[at]), default=None)
    except OSError:
        return None


def _minutes(folder: Path, job: Mapping[str, Any]) -> float | None:
    """Return how long training took: as the job says, else by the files' times, which copies may lack."""
    if isinstance(job.get("seconds"), int | float):
        return job["seconds"] / 60
    try:
        end = (folder / "checkpoints" / "last.ckpt").stat().st_mtime
        seconds = end - (folder / "config.yaml").stat().st_mtime
    except OSError:
        return None
    return seconds / 60 if seconds > 0 else None


def flatten(cfg: Any, run_dir: str, prefix: str = "") -> dict[str, Any]:
    """Return dotted key → value; lists of plain values stay whole. The run's own folder is written ``<run>``.

    >>> flatten({"a": {"b": 1, "c": [{"d": "out/x/y"}]}}, "out/x")
    {'a.b': 1, 'a.c.0.d': '<run>/y'}
    """
    if isinstance(cfg, dict) and cfg:
        items: Iterable[tuple[Any, Any]] = cfg.items()
    elif isinstance(cfg, list) and any(isinstance(v, dict | list) for v in cfg):
        items = enumerate(cfg)
    else:
        return {prefix: cfg.replace(run_dir, "<run>") if isinstance(cfg, str) else cfg}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(flatten(value, run_dir, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _tell_apart(runs: Sequence[Run]) -> None:
    """Extend labels by the backbone, and by what a sweep set, where runs of one label differ in it."""
    if len({run.backbone for run in runs}) > 1:
        for run in runs:
            run.label += f" {run.backbone}"
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    for group in groups.values():
        common = set.intersection(*(set(run.overrides) for run in group))
        for run in group:
            own = [o for o in run.overrides if o not in common and not _names_group(o)]
            run.label = " ".join([run.label, *own])


def _names_group(override: str) -> bool:
    """Tell whether an override is in the label anyway, or is a seed."""
    key = override.partition("=")[0].lstrip("+")
    return key in ("method", "backbone", "tags") or key.rpartition(".")[2] == "seed"
