"""Drives the phases of a method: what is sampled, fresh optimizer, teacher, importance ordering."""

from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from wsn.callbacks.common import SupernetCallback, averages
from wsn.errors import listed
from wsn.importance import ChannelScore
from wsn.importance.named import named_score
from wsn.module import SupernetModule
from wsn.schedule import Phase, phase_at
from wsn.space.kinds import KINDS

SCORED_BATCHES = 8  # held-out batches that tell channels' importance


class ProgressiveShrinking(SupernetCallback):
    """Enter each phase of the method when its epoch comes.

    At a boundary: freeze the external teacher after the first phase (if a role distils from it), sort channels if
    the phase says so, forget the optimizer's momentum, restrict the sampler to the phase's choices. A method with
    one phase passes through here too. Which phase was entered is in the checkpoint, so a resumed run repeats
    nothing.

    Source: Once-for-All, Cai et al. 2020, §3.3; released code ``train_ofa_net.py``.
    """

    def __init__(self) -> None:
        self.entered = -1

    def state_dict(self) -> dict[str, Any]:
        """Return the index of the phase that was entered last."""
        return {"entered": self.entered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the index of the phase back."""
        self.entered = state_dict["entered"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restrict the sampler again after a resume in the middle of a phase."""
        module = self.module_of(pl_module)
        if self.entered >= 0:
            module.sampler.enter(module.method.phases[self.entered])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Enter the phase of this epoch, if it is a new one."""
        module = self.module_of(pl_module)
        index, _ = phase_at(module.method.phases, trainer.current_epoch)
        if index != self.entered:
            self._enter(index, trainer, module)

    def _enter(self, index: int, trainer: L.Trainer, module: SupernetModule) -> None:
        phase = module.method.phases[index]
        if self.entered == 0 and module.method.wants_teacher:
            module.method.freeze_teacher(module.supernet)
        if phase.order_channels:
            trained = module.sampler.space if index > 0 else None
            order = module.supernet.order_channels(keep=trained, score=self._score(phase, trainer, module))
            for average in averages(trainer):
                average.permute_channels(order)
        if phase.fresh_optimizer and index > 0:
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
        module.sampler.enter(phase)
        self.entered = index
        if index == 0:
            for absent in module.method.left_out:
                names = " or ".join(KINDS[str(absent.shrinks)])
                rank_zero_info(f"Without phase {absent.name}: there is no choice of {names} in this space")
        rank_zero_info(
            f"Phase {index + 1}/{len(module.method.phases)} {phase.name}: {phase.length} epochs, "
            f"{listed(module.sampler.roles)} in a step, out of {module.sampler.space.size():.3g} subnets"
        )

    def _score(self, phase: Phase, trainer: L.Trainer, module: SupernetModule) -> ChannelScore:
        """Return the importance that the phase asks for; what looks at data takes held-out batches."""
        name = phase.order_channels if isinstance(phase.order_channels, str) else "l1"
        batches = _held_out(trainer, module)
        return named_score(name, module.supernet, batches, module.method.largest_loss(module.supernet))


def _held_out(trainer: L.Trainer, module: SupernetModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a few held-out batches; a score of the weights alone asks for none, and needs no data module."""
    yield from SupernetCallback.data_of(trainer).held_out(SCORED_BATCHES, module.device)
