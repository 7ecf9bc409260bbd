"""Evaluate subnets of a finished or running run."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf import DictConfig

from wsn.config import build, plain
from wsn.errors import WsnError
from wsn.evaluation import Candidate, candidates, evaluate, row
from wsn.logging.console import quiet
from wsn.logging.progress import progress_bar
from wsn.logging.results import print_results
from wsn.pareto import Front, write_csv
from wsn.quality import quality_of
from wsn.run.folder import read_config
from wsn.run.known import subnet_specs
from wsn.run.load import load_supernet
from wsn.supernet import Supernet


def evaluate_run(cfg: DictConfig) -> list[dict[str, Any]]:
    """Evaluate subnets of the run ``cfg.run`` and write ``evaluation.csv`` beside its results.

    Args:
        cfg: run, split, subnet, panel, calibrate, data (overrides of single values of the run's data config).

    Raises:
        WsnError: not a run folder, a corrupt checkpoint, an unknown split or subnet.
    """
    quiet()
    folder = Path(cfg.run)
    if cfg.split not in ("val", "test"):
        raise WsnError(f"split must be val or test. Received {cfg.split!r}")
    saved = read_config(folder)
    for key, value in (cfg.data or {}).items():
        if key not in saved.data:
            raise WsnError(f"data.{key} is not an option of this run's data; it has {', '.join(map(str, saved.data))}")
        saved.data[key] = value
    net = load_supernet(folder, saved)
    data = build(saved.data)
    loader = data.test_dataloader() if cfg.split == "test" else data.val_dataloader()
    chosen = _chosen(cfg, net, saved, folder)
    with progress_bar(len(chosen) * len(loader), f"Evaluating {cfg.split}", enabled=True) as advance:
        metrics = evaluate(
            net,
            [c.subnet for c in chosen],
            loader,
            data.calibration_batches() if cfg.calibrate else None,
            data.metrics,
            saved.channels_last,
            advance,
        )
    rows = [row(net, c, m, split=cfg.split) for c, m in zip(chosen, metrics)]
    front = Front(rows, quality_of(rows).objectives)
    rows = [{**r, "on_front": r in front} for r in rows]
    write_csv(folder / "evaluation.csv", rows)
    print_results(rows)
    rank_zero_info(f"Written: {folder / 'evaluation.csv'}")
    return rows


def _chosen(cfg: DictConfig, net: Supernet, saved: DictConfig, folder: Path) -> list[Candidate]:
    if cfg.subnet is None:
        return candidates(net, saved.evaluation.named, cfg.panel, saved.evaluation.seed)
    return [Candidate("given", net.space.find(spec)) for spec in subnet_specs(folder, plain(cfg.subnet))]
