"""Logs fronts: hypervolume as training goes, and the whole comparison table at its end."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from wsn.callbacks.common import logged_step
from wsn.cost import cost
from wsn.logging import wandb as wandb_log
from wsn.module import SupernetModule
from wsn.pareto import Front
from wsn.quality import quality_of


class ParetoLogging(Callback):
    """Send what :class:`SubnetEvaluation` measured to the loggers.

    ``pareto/hypervolume`` goes to every logger: the area under the front between no multiply-adds and the
    largest subnet's, as a share of the largest possible; so it is the mean accuracy over all budgets, in [0, 1]. Of
    language models it is the mean share of 8 bits per byte that is saved.
    W&B also gets named subnets, ``front/*`` rows, one table of all subnets, the picture and the config.

    Args:
        folder: the run folder.
        cfg: the resolved config.
    """

    def __init__(self, folder: str | Path, cfg: DictConfig):
        self.folder = Path(folder)
        self.cfg = cfg
        self.hypervolume: float | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells runs apart in a dashboard."""
        cfg = self.cfg
        return {
            "method": cfg.method.name,
            "backbone": cfg.backbone.name,
            "dataset": cfg.data.name,
            "seed": cfg.seed,
        }

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Describe the run to W&B."""
        assert isinstance(pl_module, SupernetModule)
        net = pl_module.supernet
        small, large = cost(net, net.space.min()), cost(net, net.space.max())
        derived = {
            "space_size": float(net.space.size()),
            "macs_min": small.macs,
            "macs_max": large.macs,
            "params_min": small.params,
            "params_max": large.params,
        }
        tree = OmegaConf.to_container(self.cfg, resolve=True, throw_on_missing=False)
        for logger in self._wandb(trainer):
            config = wandb_log.run_config(tree, self.identity, derived)  # type: ignore[arg-type]
            logger.experiment.config.update(config, allow_val_change=True)
            wandb_log.define_metrics(logger.experiment, list(self.cfg.evaluation.named))

    def on_subnets_evaluated(self, trainer: L.Trainer, module: SupernetModule, rows: list[dict[str, Any]]) -> None:
        """Log the hypervolume of these rows."""
        largest = cost(module.supernet, module.supernet.space.max()).macs
        quality = quality_of(rows)
        volume = Front(rows, quality.objectives).hypervolume({"macs": largest, quality.key: quality.worst})
        self.hypervolume = quality.hypervolume_share(volume, largest)
        for logger in trainer.loggers:
            logger.log_metrics({"pareto/hypervolume": self.hypervolume}, step=logged_step(trainer))

    def on_results(self, trainer: L.Trainer, module: SupernetModule, rows: list[dict[str, Any]]) -> None:
        """Log the final front, table and picture to W&B."""
        final = [r for r in rows if r["split"] == rows[-1]["split"]]
        for logger in self._wandb(trainer):
            front = Front(final, quality_of(final).objectives)
            wandb_log.log_final(logger, final, front, self.identity, self.folder)

    def _wandb(self, trainer: L.Trainer) -> list[WandbLogger]:
        if not trainer.is_global_zero:
            return []
        return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
