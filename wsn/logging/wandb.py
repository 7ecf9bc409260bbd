"""Logging to Weights & Biases, with keys for comparing fronts across runs."""

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig

from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import Quality, quality_of
from wsn.logging.labels import label_of
from wsn.logging.wandb_chart import KEY, chart_fields, chart_strings

Row = dict[str, Any]
COLUMNS: list[str | int] = [
    "method", "backbone", "dataset", "seed", "run_id", "subnet_id", "kind", "gmacs", "params_m", "latency_ms", "acc",
    "perplexity", "bits_per_byte", "on_front", "arch_json",
]  # fmt: skip


class FrontLogger(WandbLogger):
    """Lightning's W&B logger, with the choices that :class:`wsn.callbacks.pareto_logging.ParetoLogging` reads.

    Args:
        chart: of ``pareto/front``: the id that ``wsn wandb-setup`` prints, ``<entity>/wsn-pareto``; None:
            W&B's line chart, which needs no registration and has one colour per run.
        log_supernet: upload the last checkpoint when training ends, as an artifact.
        **kwargs: of Lightning's WandbLogger and of ``wandb.init``.
    """

    def __init__(self, chart: str | None = None, log_supernet: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.chart = chart
        self.log_supernet = log_supernet
        self.replays = False

    def resume_from(self, step: int, last: Row | None = None) -> None:
        """Set aside what an offline run has written so far: :meth:`replay` writes its history anew.

        It may lack rows that were not on the disk when the process was killed, and have rows of steps that are trained
        again. ``wandb sync`` uploads folders named offline-run-... only. A run with a server goes on as the server has
        it.
        """
        self.replays = self._offline
        for folder in Path(self.save_dir or ".").glob(f"wandb/offline-run-*-{self._id}") if self.replays else ():
            folder.rename(folder.with_name(f"replaced-{time.time_ns()}-{folder.name}"))

    def replay(self, rows: Sequence[Row]) -> None:
        """Log rows of metrics.csv, those up to the checkpoint that the run goes on from."""
        for row in rows if self.replays else ():
            self.log_metrics({key: value for key, value in row.items() if key != "step"}, row["step"])


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """Return what tells runs apart in a dashboard: the method as it ran; ``recipe`` has the run's tags too."""
    return {
        "method": label_of({"method": cfg.method}),
        "backbone": cfg.backbone.name,
        "dataset": cfg.data.name,
        "seed": cfg.seed,
        "recipe": label_of(cfg),
    }


def run_config(tree: Mapping[str, Any], identity: Mapping[str, Any], derived: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a W&B run.

    Flat identity keys, because a sweep agent locks the keys it sweeps and dashboards group by flat ones; the whole
    tree under ``cfg``.

    Args:
        tree: the resolved config.
        identity: see :func:`identity_of`.
        derived: facts computed from them.
    """
    flat = {f"{k}_name": identity[k] for k in ("method", "backbone", "dataset")}
    flat.update(seed_used=identity["seed"], recipe=identity["recipe"])
    return {**flat, "cfg": dict(tree), "derived": dict(derived)}


def git_state() -> dict[str, Any]:
    """Return the commit of the current directory and whether files differ from it; nothing outside a git work tree."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, timeout=10).stdout

    try:
        sha = git("rev-parse", "HEAD").strip()
        return {"git_sha": sha, "git_dirty": bool(git("status", "--porcelain", "-uno"))} if sha else {}
    except (OSError, subprocess.TimeoutExpired):
        return {}


def define_metrics(run: Any, named: Sequence[str], quality: Quality) -> None:
    """Declare the best and last value of the named subnets, and the axis of ``front/*``.

    ``pareto/hypervolume`` has no such summary: with one its summary is a dictionary, which no sweep can optimise.
    """
    for name in named:
        run.define_metric(f"val/{name}/{quality.key}", summary=f"{quality.direction},last")
    run.define_metric("front/gmacs", hidden=True)
    run.define_metric("front/*", step_metric="front/gmacs")


def log_final(run: Any, rows: Sequence[Row], front: Front, cfg: DictConfig, folder: Path, chart: str | None) -> None:
    """Log the final comparison, once per run.

    One history row per front member, ascending in MACs, so that W&B's own line panels overlay runs; one table
    of every subnet; a chart of it; the picture; an artifact with the files.

    Args:
        run: of W&B.
        rows: the subnets of the final evaluation.
        front: their front.
        cfg: the config of the run.
        folder: the run folder.
        chart: see :class:`FrontLogger`.
    """
    quality = quality_of(rows)
    for r in front:
        run.log(
            {
                "front/gmacs": r["macs"] / 1e9,
                **{f"front/{key}": r[key] for _, key, *_ in quality.columns},
                "front/params_m": r["params"] / 1e6,
                **({"front/latency_ms": r["latency_ms"]} if r["latency_ms"] is not None else {}),
            }
        )
    identity = {**identity_of(cfg), "run_id": run.id}
    table = _table(rows, identity)
    run.log(
        {
            "pareto/subnets": table,
            KEY: _chart(chart, table, quality) if chart else _line(_table(front.rows, identity), quality),
            "pareto/picture": wandb.Image(str(folder / "front.png")),
        }
    )
    log_files(run, "front", "pareto", folder, ["front.json", "subnets.csv", "config.yaml"], identity)


def log_files(
    run: Any, name: str, kind: str, folder: Path, files: Sequence[str], about: Mapping[str, Any]
) -> wandb.Artifact:
    """Log files of a run folder as the artifact ``<run id>-<name>``.

    Args:
        run: of W&B.
        name: of the artifact, after the run's.
        kind: the artifact's type.
        folder: the run folder.
        files: paths in it; what is missing is left out.
        about: metadata.
    """
    artifact = wandb.Artifact(f"{run.id}-{name}", type=kind, metadata=json.loads(json.dumps(dict(about))))
    for file in files:
        if (folder / file).exists():
            artifact.add_file(str(folder / file), name=file)
    return run.log_artifact(artifact)


def log_export(cfg: DictConfig, run_folder: str | Path, folder: Path, rows: Sequence[Row]) -> None:
    """Log a folder of exported subnets as an artifact, in a W&B run of its own beside the one that trained them.

    Args:
        cfg: the config of the run that trained them, with ``logger.wandb``.
        run_folder: of that run; W&B's files go there.
        folder: what was exported.
        rows: the subnets: id, choices, costs and metrics.
    """
    node, identity = cfg.logger.wandb, identity_of(cfg)
    config = {**run_config({}, identity, {}), "trained_by": node.id}
    where = {key: node.get(key) for key in ("project", "entity", "group")}
    mode: Any = "offline" if node.get("offline") else None
    with wandb.init(
        **where, name=f"{node.name}-export", job_type="export", dir=str(run_folder), mode=mode, config=config
    ) as run:
        name = re.sub(r"[^\w.-]", "-", f"{node.id}-{folder.name}")
        about = {**identity, "trained_by": node.id, "subnets": [dict(r) for r in rows]}
        artifact = wandb.Artifact(name, type="subnet", metadata=json.loads(json.dumps(about)))
        artifact.add_dir(str(folder))
        run.log_artifact(artifact)


def _chart(chart: str, table: wandb.Table, quality: Quality) -> Any:
    return wandb.plot_table(chart, table, chart_fields(quality), chart_strings(quality), split_table=True)


def _line(table: wandb.Table, quality: Quality) -> Any:
    return wandb.plot.line(table, "gmacs", quality.key, title=f"Front: {quality.name} against GMACs", split_table=True)


def _table(rows: Sequence[Row], identity: Mapping[str, Any]) -> wandb.Table:
    return wandb.Table(columns=COLUMNS, data=[_table_row(r, identity) for r in rows])


def _table_row(r: Row, identity: Mapping[str, Any]) -> list[Any]:
    return [
        *(identity[key] for key in ("method", "backbone", "dataset", "seed", "run_id")),
        r["id"],
        r["kind"],
        r["macs"] / 1e9,
        r["params"] / 1e6,
        r["latency_ms"],
        r["acc"],
        r.get("perplexity"),
        r.get("bits_per_byte"),
        bool(r.get("on_front")),
        r["arch"],
    ]
