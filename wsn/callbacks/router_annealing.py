"""Anneals a router: its temperature and the scale of its logits by the progress of its phases."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from wsn.errors import WsnError
from wsn.methods.routed import Routed
from wsn.module import SupernetModule

BATCHES = 4  # of the held-out split


class RouterAnnealing(Callback):
    """Set the progress of :class:`wsn.routers.gumbel.Gumbel`: from 0 to 1 over the phases that train a router.

    It is a function of the step, so a resumed run goes on exactly. Logs ``train/router_temperature``, and at the end of
    each epoch the cost that the router chooses for each budget, as ``router/cost@BUDGET``; of a router that reads the
    input, mean cost and loss of held-out sequences.

    Raises:
        WsnError: a method without a router.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prepare the method."""
        assert isinstance(pl_module, SupernetModule)
        if not isinstance(pl_module.method, Routed):
            raise WsnError(
                f"callbacks=router anneals a router; method {pl_module.method.name!r} has none. Take "
                "method=flextron, or callbacks=default"
            )
        pl_module.method.begin(pl_module.supernet)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the progress of this step."""
        assert isinstance(pl_module, SupernetModule)
        method: Any = pl_module.method
        method.gumbel.progress = progress(method, pl_module.global_step / pl_module.steps_per_epoch)
        pl_module.log("train/router_temperature", method.gumbel.now_temperature)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the router chooses."""
        assert isinstance(pl_module, SupernetModule)
        method: Any = pl_module.method
        data = trainer.datamodule  # type: ignore[attr-defined]
        for budget in method.budgets:
            batches = data.held_out(BATCHES, pl_module.device)
            for name, value in method.measure(pl_module.supernet, budget, batches).items():
                pl_module.log(f"router/{name}@{budget:g}", value)


def progress(method: Routed, epoch: float) -> float:
    """Return how much of the router's phases is done after ``epoch`` epochs (fractions count)."""
    first = method.routed_phases().index(True)
    start = sum(phase.length for phase in method.phases[:first])
    length = sum(phase.length for phase in method.phases[first:])
    return min(max((epoch - start) / length, 0.0), 1.0)
