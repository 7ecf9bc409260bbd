"""DεpS: subnets join training late, and gradually."""

from typing import Any

import lightning as L

from wsn.callbacks.common import SupernetCallback
from wsn.errors import WsnError
from wsn.module import SupernetModule
from wsn.schedule import phase_at


class DelayedShrinking(SupernetCallback):
    """Ramp up the effective learning rate of subnets (ε-shrinking) after a phase that trained the largest alone.

    The gradients of all roles but ``max`` are weighted by β, so that a subnet's effective rate β · lr(t) rises
    linearly from 0 at the switch to the scheduler's own rate at the end of the ramp; from then on β is the
    ``multiplier``. Which epoch the ramp is in follows from the method's phases, so a resumed run goes on exactly.

    Args:
        ramp_epochs: length of the ramp after the first phase; 0: none.
        multiplier: β after the ramp; 0 trains the largest network only.

    Raises:
        WsnError: a negative length, or a method that has no phase to switch to.

    Source: DεpS, Annavajjala et al. 2024, arXiv:2407.06167, §3.3; released code ``deps.py``. Differs: the learning
    rate at the end of the ramp is the scheduler's, not a table's.
    """

    def __init__(self, ramp_epochs: float = 1.0, multiplier: float = 1.0):
        if ramp_epochs < 0:
            raise WsnError(f"method.callbacks.delayed_shrinking.ramp_epochs must be 0 or more. Received {ramp_epochs}")
        self.ramp_epochs = ramp_epochs
        self.multiplier = multiplier

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that there is a switch."""
        module = self.module_of(pl_module)
        if len(module.method.phases) < 2:
            raise WsnError(
                f"DelayedShrinking needs a phase for the largest network and one for its subnets; method "
                f"{module.method.name!r} has one phase. Take method=deps, or remove the callback: "
                "method.callbacks.delayed_shrinking=null"
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the weights of this step."""
        module = self.module_of(pl_module)
        beta = self.beta(module, module.global_step / module.steps_per_epoch)
        roles = {"random", "min", *module.sampler.roles} - {"max"}
        module.method.role_weights = dict.fromkeys(roles, beta)
        module.log("train/subnet_weight", beta)

    def beta(self, module: SupernetModule, epoch: float) -> float:
        """Return β after ``epoch`` epochs (fractions count)."""
        switch = module.method.phases[0].length
        if phase_at(module.method.phases, epoch)[0] == 0:
            return 0.0
        done = epoch - switch
        if done >= self.ramp_epochs:
            return self.multiplier
        target = module.lr_at(switch + self.ramp_epochs)
        return done / self.ramp_epochs * self.multiplier * target / module.lr_at(epoch)
