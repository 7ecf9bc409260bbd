"""Logs what a router chooses."""

import lightning as L
from lightning.pytorch.callbacks import Callback

from wsn.errors import WsnError
from wsn.methods.routed import Routed
from wsn.module import SupernetModule

BATCHES = 4  # of the held-out split


class RouterCosts(Callback):
    """Log, after each epoch, the cost that a router chooses for each budget, as ``router/cost@BUDGET``.

    Of a router that reads the input: mean cost and loss of held-out sequences.

    Raises:
        WsnError: a method without a router.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that there is a router."""
        assert isinstance(pl_module, SupernetModule)
        if not isinstance(pl_module.method, Routed):
            raise WsnError(
                f"RouterCosts logs what a router chooses; method {pl_module.method.name!r} has none. Take "
                "method=flextron, or leave the callback out"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the router chooses."""
        assert isinstance(pl_module, SupernetModule)
        method = pl_module.method
        assert isinstance(method, Routed)
        data = trainer.datamodule  # type: ignore[attr-defined]
        for budget in method.budgets:
            batches = data.held_out(BATCHES, pl_module.device)
            for name, value in method.measure(pl_module.supernet, budget, batches).items():
                pl_module.log(f"router/{name}@{budget:g}", value)
