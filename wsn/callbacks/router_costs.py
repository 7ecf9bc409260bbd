"""Logs what a router chooses."""

import lightning as L

from wsn.callbacks.common import SupernetCallback
from wsn.errors import WsnError
from wsn.methods.routed import Routed

BATCHES = 4  # of the held-out split


class RouterCosts(SupernetCallback):
    """Log, after each epoch, the cost that a router chooses for each budget, as ``router/cost@BUDGET``.

    Of a router that reads the input: mean cost and loss of held-out sequences.

    Raises:
        WsnError: a method without a router.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that there is a router."""
        module = self.module_of(pl_module)
        if not isinstance(module.method, Routed):
            raise WsnError(
                f"RouterCosts logs what a router chooses; method {module.method.name!r} has none. Take "
                "method=flextron, or leave the callback out"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the router chooses."""
        module = self.module_of(pl_module)
        method = module.method
        assert isinstance(method, Routed)
        data = self.data_of(trainer)
        for budget in method.budgets:
            batches = data.held_out(BATCHES, module.device)
            for name, value in method.measure(module.supernet, budget, batches).items():
                module.log(f"router/{name}@{budget:g}", value)
