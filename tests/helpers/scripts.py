"""Scripts of the repository as processes of their own.

Importing torch, Lightning and Hydra takes seconds. :func:`command` therefore forks from a server that has imported
them (:mod:`helpers.preload`) and has done nothing else: each script still has a process, an environment and an exit
status of its own, can be killed, and sees nothing of the one before. ``fresh=True`` starts a new interpreter instead.
"""

import functools
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
FEW = ["data._target_=helpers.data.FewTestImages"]
"""Override of train.py: evaluating takes less."""

SMALL = [
    *FEW,
    "backbone.width_mult=0.2",
    "backbone.reduction=32",
    "backbone.resolution=[24,32]",
    "data.batch_size=16",
    "data.val_size=40",
    "data.eval_batch_size=40",
    "data.calibration_images=32",
    "evaluation.panel=2",
    "trainer.limit_train_batches=3",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.checkpoint.every_n_steps=2",
    "paths.output_dir=${oc.env:OUT}",
]
"""Overrides of train.py: a few batches of small images."""

PHASES = [*[f"method.phases.{i}.epochs=1" for i in range(6)], "method.phases.0.warmup_epochs=0"]
"""An epoch for each phase of once-for-all."""


def kill_at(step, *options):
    """Return overrides that send the process a signal after an optimizer step; see :class:`helpers.probes.KillAt`."""
    settings = ["_target_=helpers.probes.KillAt", f"step={step}", *options]
    return [f"+callbacks.kill.{setting}" for setting in settings]


HEAVY = ("torch", "torchvision", "lightning", "timm", "transformers", "wandb", "wsn")


def command(script, *overrides, out, check=True, timeout=560, fresh=False):
    """Run a script of the repository; ``$OUT`` is the folder ``out``.

    Args:
        script: ``train.py`` ...
        *overrides: its arguments.
        out: where its results go.
        check: fail where its exit status is not 0.
        timeout: in seconds.
        fresh: start a new interpreter, as a user does.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "OUT": str(out), "PYTHONPATH": str(ROOT / "tests")}
    environment["WANDB_MODE"] = "offline"
    if fresh:
        done = run_fresh(script, *overrides, env=environment, timeout=timeout)
    else:
        done = _forked(script, overrides, environment, timeout)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_fresh(script, *overrides, **options):
    """Run a script in a new interpreter."""
    options = {"timeout": 100, **options}
    words = [sys.executable, script, *overrides]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def without_torch(script, *overrides):
    """Run a script where importing torch, or a package that needs it, is an error."""
    return _forked(script, overrides, dict(os.environ), timeout=100, blocked=HEAVY)


def start(script, *overrides, out):
    """Start a script and return its process, to be killed."""
    environment = {**os.environ, "OUT": str(out), "OMP_NUM_THREADS": "1"}
    streams = [os.devnull] * 2
    process = _server().Process(target=_run, args=(script, overrides, environment, streams, ()))
    process.start()
    return process


def _forked(script, overrides, environment, timeout, blocked=()):
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _server().Process(target=_run, args=(script, overrides, environment, streams, blocked))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([script, *overrides], timeout)
        texts = [path.read_text() if path.exists() else "" for path in streams]
    return subprocess.CompletedProcess([script, *overrides], process.exitcode, *texts)


@functools.cache
def _server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.preload"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(path) for path in (ROOT, ROOT / "tests"))  # what it imports from
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def _run(script, overrides, environment, streams, blocked):
    """Become the script: streams, environment, folder and modules as a new interpreter would have them."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for name in list(sys.modules) if blocked else ():
        if name.partition(".")[0] in blocked:
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(set(blocked) - {"wsn"}))  # None: importing it is an error
    sys.argv = [str(ROOT / script), *overrides]
    sys.path.insert(0, str(ROOT))
    runpy.run_path(sys.argv[0], run_name="__main__")


def the_run(out):
    """Return the only run folder under a folder."""
    (config,) = out.rglob("config.yaml")
    return config.parent


def weights(run):
    """Return the state dict of a run's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
