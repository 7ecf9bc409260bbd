"""Evaluate subnets of a finished or running run."""

from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf import DictConfig

from wsn.config import to_python
from wsn.evaluation.evaluate import Candidate, candidates, row, with_method
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of
from wsn.files import place_for, write_csv
from wsn.logging.console import quiet
from wsn.logging.progress import progress_bar
from wsn.logging.results import print_results
from wsn.run.evaluator import Evaluator
from wsn.run.run import Run, run_of


def evaluate_run(cfg: DictConfig, run: Run | None = None) -> list[dict[str, Any]]:
    """Evaluate subnets of the run ``cfg.run`` and write ``cfg.out`` beside its results.

    Args:
        cfg: as conf/evaluate.yaml.
        run: the run, where it is open already.

    Raises:
        WsnError: not a run folder, a corrupt checkpoint, an unknown split or subnet.
    """
    quiet()
    run = run or run_of(cfg)
    out = place_for(run.folder / cfg.out, "out")
    net = run.net
    evaluator = Evaluator(run, cfg.split, cfg.calibrate)
    chosen = _chosen(cfg, run)
    subnets = [c.subnet for c in chosen]
    with progress_bar(len(chosen) * len(evaluator.batches()), f"Evaluating {cfg.split}") as advance:
        metrics = evaluator.measure(evaluator.views(subnets), subnets, advance)
    rows = [row(net, c, m, split=cfg.split) for c, m in zip(chosen, metrics)]
    front = Front(rows, quality_of(rows).objectives)
    rows = [{**r, "on_front": r in front} for r in rows]
    write_csv(out, rows)
    print_results(rows)
    rank_zero_info(f"Written: {out}")
    return rows


def _chosen(cfg: DictConfig, run: Run) -> list[Candidate]:
    if cfg.subnet is not None:
        return [Candidate("given", subnet) for subnet in run.find_all(to_python(cfg.subnet))]
    node = run.config.evaluation
    return with_method(candidates(run.net, node.named, cfg.panel, node.seed), run.method, run.net)
