"""Logs fronts: hypervolume as training goes, and the whole comparison table at its end."""

import math
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf
from scipy.stats import kendalltau

from wsn.callbacks.common import SupernetCallback, log_values, logged_rows
from wsn.cost_models.macs import cost
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of, write_quality
from wsn.logging import wandb as wandb_log
from wsn.logging.results import read_results
from wsn.logging.wandb import FrontLogger
from wsn.module import SupernetModule


class ParetoLogging(SupernetCallback):
    """Send what :class:`SubnetEvaluation` measured to the loggers.

    ``pareto/hypervolume`` of held-out images goes to every logger, and at the end ``test/hypervolume``: the area under
    the front between no multiply-adds and the largest subnet's, as a share of the largest possible; so it is the mean
    accuracy over all budgets, in [0, 1], or of language models the mean share of 8 bits per byte that is saved. So does
    ``pareto/kendall_tau``: how far the ranking of the subnets is the one of the evaluation before; the last compares
    held-out and test images.
    W&B also gets the config, ``front/*`` rows, one table of all subnets, a chart, the picture and the files.

    Args:
        folder: the run folder.
        cfg: the resolved config.
    """

    def __init__(self, folder: str | Path, cfg: DictConfig):
        self.folder = Path(folder)
        self.cfg = cfg
        self._final = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Describe the run to W&B."""
        module = self.module_of(pl_module)
        net = module.supernet
        small, large = cost(net, net.space.min()), cost(net, net.space.max())
        derived = {
            "space_size": float(net.space.size()),
            "macs_min": small.macs,
            "macs_max": large.macs,
            "params_min": small.params,
            "params_max": large.params,
            **wandb_log.git_state(),
        }
        tree = OmegaConf.to_container(self.cfg, resolve=True, throw_on_missing=False)
        quality = module.method.task_for(net).quality
        if trainer.is_global_zero:
            write_quality(quality, self.folder)
        for logger in self._wandb(trainer):
            config = wandb_log.run_config(tree, wandb_log.identity_of(self.cfg), derived)  # type: ignore[arg-type]
            logger.experiment.config.update(config, allow_val_change=True)
            wandb_log.define_metrics(logger.experiment, list(self.cfg.evaluation.named), quality)
            logger.replay(logged_rows(trainer))

    def on_subnets_evaluated(self, trainer: L.Trainer, module: SupernetModule, rows: list[dict[str, Any]]) -> None:
        """Log the hypervolume of these rows, and how far their ranking is that of the evaluation before."""
        largest = cost(module.supernet, module.supernet.space.max()).macs
        quality = quality_of(rows)
        volume = Front(rows, quality.objectives).hypervolume({"macs": largest, quality.key: quality.worst})
        # A sweep chooses by pareto/hypervolume, so it never has test images in it.
        group = "test" if rows[0]["split"] == "test" else "pareto"
        values = {f"{group}/hypervolume": quality.hypervolume_share(volume, largest)}
        tau = self._kendall_tau(rows, quality.key)
        if math.isfinite(tau):
            values["pareto/kendall_tau"] = tau
        log_values(trainer, values)

    def on_results(self, trainer: L.Trainer, module: SupernetModule, rows: list[dict[str, Any]]) -> None:
        """Log the final front, table, chart and picture to W&B."""
        final = [r for r in rows if r["split"] == rows[-1]["split"]]
        self._final = True
        for logger in self._wandb(trainer):
            front = Front(final, quality_of(final).objectives)
            wandb_log.log_final(logger.experiment, final, front, self.cfg, self.folder, logger.chart)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the finished checkpoint to W&B, as a run folder that ``wsn export`` takes; it is written by now."""
        if not self._final and not trainer.interrupted and any(log.replays for log in self._wandb(trainer)):
            rows = read_results(self.folder)  # the run was at its end already, and its history is written anew
            self.on_results(trainer, self.module_of(pl_module), rows)
        files = ["checkpoints/last.ckpt", "config.yaml", "quality.json", "subnets.csv"]
        for logger in self._wandb(trainer):
            if logger.log_supernet and not trainer.interrupted:
                about = wandb_log.identity_of(self.cfg)
                wandb_log.log_files(logger.experiment, "supernet", "supernet", self.folder, files, about)

    def _kendall_tau(self, rows: list[dict[str, Any]], key: str) -> float:
        """Return Kendall's τ-b of these subnets between the evaluation before and this one; nan without one."""
        earlier = read_results(self.folder)[: -len(rows)]  # the file ends with this evaluation
        before = {r["id"]: r[key] for r in earlier}  # of each subnet the last
        pairs = [(before[r["id"]], r[key]) for r in rows if r["id"] in before]
        return float(kendalltau(*zip(*pairs)).statistic) if len(pairs) > 1 else math.nan

    def _wandb(self, trainer: L.Trainer) -> list[FrontLogger]:
        if not trainer.is_global_zero:
            return []
        return [logger for logger in trainer.loggers if isinstance(logger, FrontLogger)]
