"""Evaluate subnets of a finished or running run."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf import DictConfig

from wsn.config import build, plain
from wsn.evaluation import Candidate, candidates, row, with_method
from wsn.logging.console import quiet
from wsn.logging.progress import progress_bar
from wsn.logging.results import print_results
from wsn.pareto import Front
from wsn.quality import quality_of
from wsn.rows import write_csv
from wsn.run.evaluator import Evaluator
from wsn.run.folder import read_config
from wsn.run.known import subnet_specs
from wsn.supernet import Supernet


def evaluate_run(cfg: DictConfig) -> list[dict[str, Any]]:
    """Evaluate subnets of the run ``cfg.run`` and write ``cfg.out`` beside its results.

    Args:
        cfg: run, split, subnet, panel, calibrate, data (overrides of single values of the run's data config), out.

    Raises:
        WsnError: not a run folder, a corrupt checkpoint, an unknown split or subnet.
    """
    quiet()
    folder = Path(cfg.run)
    evaluator = Evaluator(folder, cfg.split, cfg.calibrate, data=cfg.data)
    net, batches = evaluator.net, evaluator.batches()
    chosen = _chosen(cfg, net, read_config(folder), folder)
    with progress_bar(len(chosen) * len(batches), f"Evaluating {cfg.split}") as advance:
        metrics = evaluator.metrics([c.subnet for c in chosen], advance)
    rows = [row(net, c, m, split=cfg.split) for c, m in zip(chosen, metrics)]
    front = Front(rows, quality_of(rows).objectives)
    rows = [{**r, "on_front": r in front} for r in rows]
    write_csv(folder / cfg.out, rows)
    print_results(rows)
    rank_zero_info(f"Written: {folder / cfg.out}")
    return rows


def _chosen(cfg: DictConfig, net: Supernet, saved: DictConfig, folder: Path) -> list[Candidate]:
    if cfg.subnet is None:
        chosen = candidates(net, saved.evaluation.named, cfg.panel, saved.evaluation.seed)
        return with_method(chosen, build(saved.method), net)
    return [Candidate("given", net.space.find(spec)) for spec in subnet_specs(folder, plain(cfg.subnet))]
