"""The one LightningModule: one manual-optimisation loop serves every method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wsn.config.moved import stamp
from wsn.cost_models.macs import cost
from wsn.data.loader import key_of
from wsn.errors import WsnError
from wsn.methods.base import Batch, Method
from wsn.providers.quantised import take_layout
from wsn.samplers.base import Draw, Sampler
from wsn.schedule import Curve, learning_rate
from wsn.space import Subnet
from wsn.supernet import Supernet
from wsn.supernet.images import not_finite


class SupernetModule(L.LightningModule):
    """Train a supernet: several subnets forward and backward, then one optimizer step.

    Manual optimisation, so clipping, accumulation, the gradient scaler and the schedule are done here.

    Args:
        supernet: shared weights; ``supernet`` in the checkpoint's state dict.
        method: losses by role and phases.
        sampler: draws the subnets of each step.
        optimizer: parameter groups → optimizer; its learning rate is what a phase's ``lr_scale`` is a multiple of.
        curve: share of the peak learning rate by progress in a phase, see :mod:`wsn.schedule`.
        weight_decay: of weights; norms and biases have none.
        warmup_from: share of the peak at which a phase's warm-up starts.
        clip_norm: largest global gradient norm; None does not clip.
        clip_value: largest absolute value of a gradient entry; None does not clip.
        accumulate: batches per optimizer step; gradients are averaged over them.
        channels_last: memory format of images and weights, faster on CPUs and tensor cores.

    Raises:
        WsnError: both ways of clipping at once, or fewer than one batch per step.
    """

    def __init__(
        self,
        supernet: Supernet,
        method: Method,
        sampler: Sampler,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        curve: Curve,
        weight_decay: float = 0.0,
        warmup_from: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        channels_last: bool = False,
    ):
        super().__init__()
        if clip_norm is not None and clip_value is not None:
            raise WsnError("Clip gradients by optim.clip_norm or by optim.clip_value, not both")
        if accumulate < 1:
            raise WsnError(f"optim.accumulate must be at least 1. Received {accumulate}")
        self.automatic_optimization = False
        self.supernet = supernet
        self.method = method
        self.sampler = sampler
        self.make_optimizer = optimizer
        self.curve = curve
        self.weight_decay = weight_decay
        self.warmup_from = warmup_from
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.accumulate = accumulate
        self.channels_last = channels_last
        self.macs_spent = 0
        sampler.attach(supernet)
        if channels_last:
            supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Tensor:
        """Run a subnet, by default the largest; see :meth:`wsn.supernet.Supernet.forward`."""
        return self.supernet(x, subnet)

    def setup(self, stage: str) -> None:
        """Give the task of the data to the method."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and hasattr(data, "task"):
            self.method.task = data.task

    def on_train_start(self) -> None:
        """Check that an epoch has enough batches for a step."""
        if self.accumulate > self.trainer.num_training_batches:
            batches = self.trainer.num_training_batches
            raise WsnError(
                f"optim.accumulate={self.accumulate} batches make a step, and an epoch has {batches}. Set "
                f"optim.accumulate={batches} or less, a smaller data.batch_size, or more data.images_per_epoch"
            )

    def on_fit_start(self) -> None:
        """Bring a teacher that was there before training to where the network is."""
        if self.method.teacher is not None:
            self.method.teacher.to(self.device)

    # -- one step ---------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Train the subnets that the sampler draws for this optimizer step.

        Returns:
            ``logits`` (B, K) of the step's first subnet, for callbacks.
        """
        batch = self._memory_format(batch)
        for name, value in self.method.at(self.global_step / self.steps_per_epoch).items():
            self.log(f"train/{name}", value)
        # Dropout draws from the global generator: keyed by the batch, a resumed run draws what it would have drawn.
        torch.manual_seed(key_of(self.sampler.seed, self.batches_done, self.global_rank))
        steps = self.steps_now(batch_idx)
        draws = self.sampler.sample(self.global_step, batch_idx % self.accumulate, self._score(batch))
        losses: dict[str, list[Tensor]] = {}
        logits: list[Tensor] = []
        for i, done in enumerate(self.method.step(self.supernet, batch, draws)):
            with self._sync(steps and i == self.method.passes(draws) - 1):
                self.manual_backward(done.loss / self.accumulate)
            losses.setdefault(done.role, []).append(done.loss.detach())
            logits.append(done.logits)
        means = {role: torch.stack(values).mean() for role, values in losses.items()}
        self._check_finite(means, batch_idx, batch[0])
        self._spend(draws, self._samples(batch))
        self._log_step(means)
        if steps:
            self._optimizer_step(draws)
        return {"logits": logits[0]}

    @property
    def batches_done(self) -> int:
        """Batches that this training has begun, over all epochs; in the checkpoint."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def _score(self, batch: Batch) -> Callable[[Subnet], float]:
        """Return a function that tells the label loss of a subnet on this batch, over all processes."""

        def score(subnet: Subnet) -> float:
            loss = self.method.score(self.supernet, batch, subnet)
            self.macs_spent += cost(self.supernet, subnet).macs * self._samples(batch) * self.trainer.world_size
            return self.trainer.strategy.reduce(loss, reduce_op="mean").item()

        return score

    def _samples(self, batch: Batch) -> int:
        """Return how many images, or tokens, a batch has: what :class:`wsn.Cost` counts multiply-adds for."""
        return self.method.task_for(self.supernet).samples(batch[0])

    def _spend(self, draws: Sequence[Draw], count: int) -> None:
        """Count multiply-adds: a backward costs twice its forward, a teacher only its forward."""
        macs = self.method.macs(self.supernet, draws, teacher=self.method.teacher is not None)
        self.macs_spent += macs * count * self.trainer.world_size

    def _optimizer_step(self, draws: Sequence[Draw]) -> None:
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        self._check_gradients()
        self._clip(optimizer)
        self.sampler.on_gradients(draws)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()

    def steps_now(self, batch_idx: int) -> bool:
        """Tell whether the optimizer steps after this batch: the last of those accumulated, or of the epoch."""
        last = batch_idx + 1 == self.trainer.num_training_batches
        return last or (batch_idx + 1) % self.accumulate == 0

    def _sync(self, last: bool) -> AbstractContextManager[None]:
        """Reduce gradients across processes in the step's last backward only."""
        strategy = self.trainer.strategy
        if last or not hasattr(strategy, "block_backward_sync"):
            return nullcontext()
        return strategy.block_backward_sync()

    def _clip(self, optimizer: Any) -> None:
        value = self.clip_norm if self.clip_norm is not None else self.clip_value
        if value is None:
            return
        # Under float16 the gradients are still scaled here: clip them at the scaled threshold.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler is not None else 1.0
        algorithm = "norm" if self.clip_norm is not None else "value"
        self.clip_gradients(optimizer, gradient_clip_val=value * scale, gradient_clip_algorithm=algorithm)

    def _memory_format(self, batch: Batch) -> Batch:
        inputs, labels = batch
        if not self.channels_last or inputs.ndim != 4:
            return batch
        return inputs.to(memory_format=torch.channels_last), labels

    def _check_finite(self, losses: dict[str, Tensor], batch_idx: int, inputs: Tensor) -> None:
        # On a GPU looking at the value waits for it: look only when it is logged anyway.
        if self.device.type != "cpu" and (batch_idx + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        bad = [role for role, loss in losses.items() if not torch.isfinite(loss)]
        if bad:
            raise WsnError(
                f"The loss of the {bad[0]} subnet is {losses[bad[0]].item()} at step {self.global_step} "
                f"(epoch {self.current_epoch}){_seen(inputs)}. Lower the learning rate (optim.lr=..., "
                "method.phases.*.lr), lengthen the warm-up, or clip gradients (optim.clip_norm=1.0); the last "
                "checkpoint is intact: go on from it with resume=<run folder>"
            )

    def _check_gradients(self) -> None:
        """Refuse a step that would make weights infinite; under float16 the scaler leaves such steps out."""
        if self.device.type != "cpu" or getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return
        grads = [p.grad for p in self.supernet.parameters() if p.grad is not None]
        if grads and not torch.isfinite(torch.nn.utils.get_total_norm(grads)):
            bad = [n for n, p in self.supernet.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            raise WsnError(
                f"The gradient of {len(bad) or 'all'} parameters, e.g. {(bad or ['?'])[0]}, is not finite at step "
                f"{self.global_step} (epoch {self.current_epoch}); no weight was changed by it. Look for values that "
                "are not finite in the data, lower the learning rate (optim.lr=...), or clip gradients "
                "(optim.clip_norm=1.0)"
            )

    def _log_step(self, losses: dict[str, Tensor]) -> None:
        total = torch.stack(list(losses.values())).mean()
        logged: Any = self.trainer._results
        for key in [k for k in logged or () if k.partition("train/loss/")[2] not in ("", *losses)]:
            del logged[key]  # of a role of an earlier step: Lightning would log its value again
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/loss/{role}": loss for role, loss in losses.items()})
        optimizer: Any = self.optimizers()
        self.log("train/lr", optimizer.param_groups[0]["lr"], prog_bar=True)
        self.log("train/gmacs_spent", self.macs_spent / 1e9)

    # -- optimiser and schedule ------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Make the optimizer and a per-step schedule that is a pure function of the step."""
        groups = parameter_groups(self.supernet, self.weight_decay, self.method.lr_scales)
        optimizer = self.make_optimizer(groups)
        self._base_lr = optimizer.param_groups[0]["lr"]
        if not self._base_lr > 0:
            raise WsnError(f"optim.lr must be positive. Received {self._base_lr}")
        for group in optimizer.param_groups:  # LambdaLR multiplies these: what it sets is the rate itself
            group["lr"] = group.get("lr_scale", 1.0)

        def rate(step: int) -> float:
            # Lightning counts the batches of an epoch only after it has made the optimizer.
            return self.lr_at(step / self.steps_per_epoch if step else 0.0)

        scheduler = LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_at(self, epoch: float) -> float:
        """Return the learning rate after ``epoch`` epochs (fractions count)."""
        return learning_rate(self.method.phases, self.curve, epoch, self._base_lr, self.warmup_from)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last may accumulate fewer batches."""
        return -(-int(self.trainer.num_training_batches) // self.accumulate)

    # -- feedback to the sampler -----------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Tell the sampler which epoch it is."""
        self.sampler.on_epoch(self.current_epoch, self.trainer.max_epochs or 1)

    def on_subnets_evaluated(self, trainer: L.Trainer, module: L.LightningModule, rows: list[dict[str, Any]]) -> None:
        """Tell the sampler the results of an evaluation on held-out data."""
        if all(r["split"] == "val" for r in rows):
            self.sampler.on_evaluated(rows)

    # -- checkpoint -----------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sampler's state, the compute spent, and the external teacher, which is no part of the module."""
        checkpoint.update(stamp())
        checkpoint["sampler"] = self.sampler.state_dict()
        checkpoint["macs_spent"] = self.macs_spent
        checkpoint["global_batch"] = self._global_batch()
        if self.method.teacher is not None:
            checkpoint["teacher"] = self.method.teacher.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        if any(name.startswith("supernet.net.model.") for name in checkpoint["state_dict"]):
            raise WsnError(
                "A run of method=slimmable from before version 0.2 cannot be resumed: its optimizer has parameters in "
                "another order. It can be evaluated and exported; start it again to train on"
            )
        self._check_global_batch(checkpoint.get("global_batch"))
        take_layout(self.supernet, checkpoint["state_dict"], "supernet.")
        groups = [state["param_groups"] for state in checkpoint.get("optimizer_states", [])]
        for scheduler, parts in zip(checkpoint.get("lr_schedulers", []), groups):  # earlier versions kept a rate there
            scheduler["base_lrs"] = [group.get("lr_scale", 1.0) for group in parts]
        self.sampler.load_state_dict(checkpoint["sampler"])
        self.macs_spent = checkpoint["macs_spent"]
        if "teacher" in checkpoint:
            self.method.freeze_teacher(self.supernet)
            assert self.method.teacher is not None
            self.method.teacher.load_state_dict(checkpoint["teacher"])
            self.method.teacher.to(self.device)

    def _global_batch(self) -> int | None:
        """Return the samples of a batch over all processes; None where the data does not say."""
        size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        return None if size is None else size * self.trainer.world_size

    def _check_global_batch(self, before: int | None) -> None:
        """Check that a resumed run divides the same batches among its processes: position and order are by batch."""
        now = self._global_batch()
        if before and now and before != now:
            world = self.trainer.world_size
            fits = f"data.batch_size={before // world}" if before % world == 0 else f"processes that divide {before}"
            raise WsnError(
                f"This run has trained with batches of {before} samples over all processes; {world} processes of "
                f"data.batch_size={now // world} make {now}, and it could not go on where it was. Set {fits}"
            )


def _seen(inputs: Tensor) -> str:
    """Say of a batch of images what may explain a loss that is not finite."""
    if not inputs.is_floating_point():
        return ""
    if bad := not_finite(inputs):
        return f"; {bad} of the batch's {len(inputs)} inputs have values that are not finite: look at the data"
    low, high = inputs.min().item(), inputs.max().item()
    return f"; all of the batch's inputs are {low:g}" if low == high else f"; its inputs are from {low:g} to {high:g}"


def parameter_groups(
    net: torch.nn.Module, weight_decay: float, lr_scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Split parameters into those that decay, those that do not, and parts with a learning rate of their own.

    Args:
        net: the supernet.
        weight_decay: of weights; norms and biases (one-dimensional) have none, nor have the parts.
        lr_scales: name of a part of the supernet → multiple of the learning rate (``lr_scale`` of its group).
    """
    scales = lr_scales or {}
    named = [(name.partition(".")[0], p) for name, p in net.named_parameters() if p.requires_grad]
    decayed = [p for part, p in named if part not in scales and p.ndim > 1]
    plain = [p for part, p in named if part not in scales and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    for name, scale in scales.items():
        parameters = [p for part, p in named if part == name]
        groups.append({"params": parameters, "weight_decay": 0.0, "lr_scale": scale})
    return [group for group in groups if group["params"]]
