"""Callbacks that tests put into a run by ``+callbacks.NAME._target_=probes.X``."""

import os
import signal

from lightning.pytorch.callbacks import Callback


class KillAt(Callback):
    """Send the process a signal after an optimizer step: ``kill -9`` by default, ``SIGINT`` is Ctrl-C."""

    def __init__(self, step, name="SIGKILL"):
        self.step = step
        self.signal = getattr(signal, name)

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signal)
