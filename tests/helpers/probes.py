"""Callbacks that tests put into a run by ``+callbacks.NAME._target_=helpers.probes.X``."""

import errno
import json
import os
import signal
from pathlib import Path

from lightning.pytorch.callbacks import Callback


class KillAt(Callback):
    """Send the process a signal after an optimizer step: ``kill -9`` by default, ``SIGINT`` is Ctrl-C.

    Only in the process ``rank``, if given. Once only, if ``once`` is the path of a file that notes it. Or after so many
    batches of this process: ``batch``.
    """

    def __init__(self, step, name="SIGKILL", once=None, batch=None, rank=None):
        self.step = step
        self.batch = batch
        self.rank = rank
        self.signal = getattr(signal, name)
        self.once = once and Path(once)

    def on_train_batch_end(self, trainer, *_):
        if self.batch is not None:
            self.batch -= 1
        reached = trainer.global_step == self.step if self.batch is None else self.batch == 0
        reached = reached and self.rank in (None, trainer.global_rank)
        if reached and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            if self.signal == signal.SIGINT:  # a shell ignores it in jobs of the background
                signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), self.signal)


class KillAtEnd(Callback):
    """``kill -9`` after the last step, before the final evaluation; once: the file ``once`` notes it."""

    def __init__(self, once):
        self.once = Path(once)

    def on_train_end(self, *_):
        if not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class NoteDraws(Callback):
    """Write the subnets of every step to ``draws-<rank>.json`` in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        sample = pl_module.sampler.sample

        def noting(*args):
            draws = sample(*args)
            self.seen.append([f"{d.role} {d.subnet.id}" for d in draws])
            return draws

        pl_module.sampler.sample = noting

    def on_train_end(self, trainer, pl_module):
        (self.folder / f"draws-{trainer.global_rank}.json").write_text(json.dumps(self.seen))


class FullDisk(Callback):
    """Let the disk be full when a file of a name is moved to its place; once: the file ``once`` notes it."""

    def __init__(self, name, once):
        self.name = name
        self.once = Path(once)

    def on_fit_start(self, *_):
        real = os.replace

        def replace(source, target):
            if Path(target).name == self.name and not self.once.exists():
                self.once.touch()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(source, target)

        os.replace = replace
