"""Evaluates subnets during and after training, and records every one of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from wsn.callbacks.common import SupernetCallback, averages, epoch_of, hooks, log_values
from wsn.evaluation.evaluate import Candidate, candidates, evaluate, row, with_method
from wsn.evaluation.quality import quality_of
from wsn.logging.ledger import trained_alone
from wsn.logging.progress import progress_bar
from wsn.logging.results import print_results, read_results, write_results
from wsn.module import SupernetModule
from wsn.schedule import phase_at

Row = dict[str, Any]


class SubnetEvaluation(SupernetCallback):
    """Evaluate named subnets and a random panel, each with calibrated BN, and keep the results in the run folder.

    At the end of each phase and every ``every_n_epochs`` epochs on the held-out part of the training set; on the
    test set once, when training ends. Subnets that the method chooses, as a router does, are evaluated too, as they are
    then. Processes of a distributed run share the subnets among them. Other callbacks and loggers hear of results
    through ``on_subnets_evaluated`` and ``on_results``.

    Args:
        folder: the run folder.
        named: name → subnet, see :meth:`wsn.space.SearchSpace.find`.
        panel: number of random subnets across the cost range.
        every_n_epochs: besides the ends of phases; 0: only there.
        calibrate: recompute BN statistics for each subnet (off: the shared ones, for comparison).
        seed: of the panel.
        table: a CSV file whose column ``arch`` has further subnets; those that are of the space are evaluated too.
        last_epochs: evaluate after each of so many last epochs, to see how much results move from one to the next.
        alone: a ledger (:mod:`wsn.logging.ledger`) with runs of ``method=plain``, for a column of the last table.
    """

    def __init__(
        self,
        folder: str | Path,
        named: Mapping[str, Any],
        panel: int = 8,
        every_n_epochs: int = 0,
        calibrate: bool = True,
        seed: int = 0,
        table: str | Path | None = None,
        last_epochs: int = 0,
        alone: str | Path | None = None,
    ):
        self.folder = Path(folder)
        self.named = dict(named)
        self.panel = panel
        self.every_n_epochs = every_n_epochs
        self.calibrate = calibrate
        self.seed = seed
        self.table = table
        self.last_epochs = last_epochs
        self.alone = alone
        self.rows: list[Row] = []
        self.tested = False

    def state_dict(self) -> dict[str, Any]:
        """Return whether the test split was seen: after a run's last checkpoint nothing is owed."""
        return {"tested": self.tested}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.tested = state_dict["tested"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose the subnets; after a resume, take back the earlier results."""
        module = self.module_of(pl_module)
        self.tested = False
        self.chosen = candidates(module.supernet, self.named, self.panel, self.seed, table=self.table)
        if trainer.global_step and (self.folder / "subnets.csv").exists():
            earlier = read_results(self.folder)
            self.rows = [r for r in earlier if r["split"] == "val" and r["step"] <= trainer.global_step]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate on the held-out split where a phase ends or it is time."""
        module = self.module_of(pl_module)
        if self._due(trainer, module):
            self._run(trainer, module, "val")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate on the test split, once."""
        if not trainer.interrupted and trainer.global_step:
            self._test(trainer, self.module_of(pl_module))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the training of a run that was killed after its last step, as it would have ended then."""
        if not self.tested and trainer.global_step and not trainer.interrupted:
            self.on_train_start(trainer, pl_module)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if not isinstance(callback, ProgressBar):
                    callback.on_train_end(trainer, pl_module)

    def _test(self, trainer: L.Trainer, module: SupernetModule) -> None:
        rows = self._run(trainer, module, "test")
        self.tested = True
        if trainer.is_global_zero:
            data = self.data_of(trainer).name
            print_results(rows, alone=trained_alone(self.alone, data) if self.alone else None)
            for hook in hooks(trainer, "on_results"):
                hook(trainer, module, self.rows)

    def _due(self, trainer: L.Trainer, module: SupernetModule) -> bool:
        epoch, phases = trainer.current_epoch, module.method.phases
        ends = phase_at(phases, epoch)[0] != phase_at(phases, epoch + 1)[0]
        ends = ends or epoch + max(1, self.last_epochs) >= (trainer.max_epochs or 0)
        return ends or bool(self.every_n_epochs and (epoch + 1) % self.every_n_epochs == 0)

    def _run(self, trainer: L.Trainer, module: SupernetModule, split: str) -> list[Row]:
        data = self.data_of(trainer)
        loader = data.test_dataloader() if split == "test" else data.val_dataloader()
        batches = data.calibration_batches() if self.calibrate else None
        epoch = epoch_of(trainer)
        phase = module.method.phases[phase_at(module.method.phases, epoch)[0]].name
        chosen = with_method(self.chosen, module.method, module.supernet)
        mine = chosen[trainer.global_rank :: trainer.world_size]
        net = next(iter(averages(trainer)), module.supernet)
        with progress_bar(len(mine) * len(loader), f"Evaluating {split}", trainer.is_global_zero) as advance:
            metrics = evaluate(
                net,
                [c.subnet for c in mine],
                loader,
                batches,
                data.metrics,
                module.channels_last,
                advance,
            )
        where = {"split": split, "phase": phase, "epoch": epoch, "step": trainer.global_step}
        rows = self._gather(trainer, chosen, [row(net, c, m, **where) for c, m in zip(mine, metrics)])
        self.rows.extend(rows)
        module.on_subnets_evaluated(trainer, module, rows)  # in every process: the sampler hears of it
        if trainer.is_global_zero:
            write_results(self.folder, self.rows)
            self._announce(trainer, module, rows, split)
        return rows

    def _gather(self, trainer: L.Trainer, chosen: list[Candidate], rows: list[Row]) -> list[Row]:
        if trainer.world_size == 1:
            return rows
        parts: list[list[Row] | None] = [None] * trainer.world_size
        dist.all_gather_object(parts, rows)
        order = {c.subnet.id: i for i, c in enumerate(chosen)}
        return sorted((r for part in parts for r in part or []), key=lambda r: order[r["id"]])

    def _announce(self, trainer: L.Trainer, module: SupernetModule, rows: list[Row], split: str) -> None:
        named = {r["kind"]: r for r in rows if r["kind"] != "random"}
        quality = quality_of(rows)
        text = ", ".join(f"{kind} {quality.text(r)}" for kind, r in named.items())
        rank_zero_info(f"  {split} after {rows[0]['phase']}: {text}")
        log_values(trainer, {f"{split}/{k}/{m}": r[m] for k, r in named.items() for _, m, *_ in quality.columns})
        for hook in hooks(trainer, "on_subnets_evaluated"):
            hook(trainer, module, rows)
