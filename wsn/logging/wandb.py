"""What a run tells Weights & Biases, with keys made for comparing fronts across runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from wsn.pareto import Front
from wsn.quality import quality_of

Row = dict[str, Any]
COLUMNS: list[str | int] = [
    "method", "backbone", "dataset", "seed", "subnet_id", "kind", "gmacs", "params_m", "latency_ms", "acc",
    "perplexity", "bits_per_byte", "on_front", "arch_json",
]  # fmt: skip


def run_config(tree: Mapping[str, Any], identity: Mapping[str, Any], derived: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a W&B run.

    Flat identity keys, because a sweep agent locks the keys it sweeps and dashboards group by flat ones; the whole
    tree under ``cfg``.

    Args:
        tree: the resolved config.
        identity: method, backbone, dataset, seed.
        derived: facts computed from them.
    """
    flat = {f"{k}_name": identity[k] for k in ("method", "backbone", "dataset")}
    return {**flat, "seed_used": identity["seed"], "cfg": dict(tree), "derived": dict(derived)}


def define_metrics(run: Any, named: Sequence[str]) -> None:
    """Declare summaries of the named subnets and the axis of ``front/*``."""
    for name in named:
        for split in ("val", "test"):
            run.define_metric(f"{split}/{name}/acc", summary="max,last")
    run.define_metric("pareto/hypervolume", summary="max,last")
    run.define_metric("front/gmacs", hidden=True)
    run.define_metric("front/*", step_metric="front/gmacs")


def log_final(
    logger: WandbLogger, rows: Sequence[Row], front: Front, identity: Mapping[str, Any], folder: Path
) -> None:
    """Log the final comparison, once per run.

    One history row per front member, ascending in MACs, so that W&B's own line panels overlay runs; one table
    of every subnet; the picture; an artifact with the files.

    Args:
        logger: of the run.
        rows: the subnets of the final evaluation.
        front: their front.
        identity: method, backbone, dataset, seed.
        folder: the run folder.
    """
    run = logger.experiment
    for r in front:
        run.log(
            {
                "front/gmacs": r["macs"] / 1e9,
                **{f"front/{key}": r[key] for _, key, *_ in quality_of(rows).columns},
                "front/params_m": r["params"] / 1e6,
                **({"front/latency_ms": r["latency_ms"]} if r["latency_ms"] is not None else {}),
            }
        )
    table = wandb.Table(columns=COLUMNS, data=[_table_row(r, identity) for r in rows])
    run.log({"pareto/subnets": table, "pareto/picture": wandb.Image(str(folder / "front.png"))})
    artifact = wandb.Artifact(f"{run.id}-front", type="pareto", metadata=json.loads(json.dumps(dict(identity))))
    for name in ("front.json", "subnets.csv", "config.yaml"):
        if (folder / name).exists():
            artifact.add_file(str(folder / name))
    run.log_artifact(artifact)


def _table_row(r: Row, identity: Mapping[str, Any]) -> list[Any]:
    return [
        identity["method"],
        identity["backbone"],
        identity["dataset"],
        identity["seed"],
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
