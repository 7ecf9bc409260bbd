"""Callbacks that tests put into a run by ``+callbacks.NAME._target_=probes.X``."""

import os
import signal

from lightning.pytorch.callbacks import Callback


class KillAt(Callback):
    """End the process as ``kill -9`` does, after an optimizer step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
