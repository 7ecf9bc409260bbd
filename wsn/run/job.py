"""One job of a sweep: run, resumed or left alone by what its folder says; its failure is its own."""

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from wsn.config import explain
from wsn.errors import WsnError
from wsn.files import locked, write_atomically
from wsn.logging.ledger import Ledger, job_key
from wsn.run.folder import checkpoint_of
from wsn.run.sweep import LAUNCHER, OUTSIDE, RANKS, RECORD, read_record, refuse_subprocesses, write_index

Metrics = dict[str, float]


def in_sweep() -> bool:
    """Tell whether this is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def run_job(cfg: DictConfig, task: Callable[[DictConfig], Metrics]) -> Metrics | None:
    """Run this process's job of a multirun, in the folder that Hydra made for it; see :func:`run_in`."""
    end_with_launcher()
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if any(int(os.environ.get(name, 0)) for name in RANKS):
        return task(_resumed(cfg, folder))  # one more process of a job whose first one keeps the record
    return run_in(folder, [o for o in hydra.overrides.task if o.partition("=")[0] not in OUTSIDE], cfg, task)


_watched = threading.Event()


def end_with_launcher(poll: float = 1.0, grace: float = 30.0) -> None:
    """End this process when the one that launches a sweep's jobs is gone, if it is a worker of that.

    Joblib's workers would otherwise train on, and wait for jobs for ever. A training gets SIGTERM, on which it keeps a
    checkpoint, and some time for it.

    Args:
        poll: seconds between two looks.
        grace: seconds from SIGTERM until the process is ended in any case.
    """
    launcher = int(os.environ.get(LAUNCHER, 0))
    if _watched.is_set() or os.name != "posix" or os.getppid() != launcher:
        return
    _watched.set()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(poll)
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):  # Lightning's, while it trains
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with the launcher").start()


def run_in(
    folder: Path, overrides: list[str], cfg: DictConfig, task: Callable[[DictConfig], Metrics]
) -> Metrics | None:
    """Run a job of a sweep, if it is not done yet; go on from its checkpoint if it has one.

    ``job.json`` in its folder says how it stands; what fails is reported at once and the sweep goes on.

    Args:
        folder: of the job.
        overrides: that tell it from other jobs.
        cfg: resolved config of the job.
        task: trains by a config and returns metrics.

    Returns:
        the metrics, of an earlier run if that was whole; None if the job failed or another process runs it.

    Raises:
        WsnError: the folder holds another job.
    """
    record = read_record(folder) or {"overrides": overrides, "seconds": 0.0, "metrics": {}}
    other = sorted(record["overrides"]) != sorted(overrides)
    if other and record["status"] == "failed" and not checkpoint_of(folder).exists():
        record, other = {"overrides": overrides, "seconds": 0.0, "metrics": {}}, False  # a mistake, now mended
    if other:
        raise WsnError(
            f"{folder} holds a job of other settings: {' '.join(record['overrides'])}. Received "
            f"{' '.join(overrides)}. Choose another name for this sweep: sweep=NAME"
        )
    if record.get("status") == "done":
        print(f"{folder.name}: done before")
        return record["metrics"]
    ledger = Ledger(cfg.ledger, cfg.recipe_version) if cfg.get("ledger") else None
    if ledger is not None and (row := ledger.find(job_key(cfg.method.name, overrides))):
        print(f"{folder.name}: done before, in {ledger.folder}")
        return {name: row[name] for name in row if "/" in name and row[name] is not None}
    with locked(folder / ".lock") as ours:
        if not ours:
            print(f"{folder.name}: another process is running it")
            return None
        metrics = _recorded(cfg, task, folder, record)
    if ledger is not None and metrics is not None:
        ledger.add(overrides, cfg, folder, metrics, record["seconds"])
    return metrics


def _recorded(cfg: DictConfig, task: Callable[[DictConfig], Metrics], folder: Path, record: dict) -> Metrics | None:
    start, before = time.time(), record["seconds"]

    def note(status: str, metrics: Metrics | None = None, error: str | None = None) -> None:
        record.update(status=status, seconds=before + time.time() - start, metrics=metrics or {}, error=error)
        write_atomically(folder / RECORD, json.dumps(record, indent=1))
        write_index(folder.parent)

    note("running")
    try:
        refuse_subprocesses(cfg)
        metrics = task(_resumed(cfg, folder))
    except Exception as error:
        message = explain(error) or f"{type(error).__name__}: {error}"
        note("failed", error=message)
        (folder / "error.txt").write_text(traceback.format_exc(), "utf-8")
        print(f"error: {folder.name} failed: {message}\n  See {folder / 'error.txt'}", file=sys.stderr)
        return None
    except BaseException:  # Ctrl-C, or the queue's time is up
        note("interrupted")
        raise
    finally:
        release()
    (folder / "error.txt").unlink(missing_ok=True)
    note("done", metrics)
    print(f"{folder.name}: done in {(time.time() - start) / 60:.1f} min")
    return metrics


def _resumed(cfg: DictConfig, folder: Path) -> DictConfig:
    """Return the config, which goes on from the folder's checkpoint if there is one."""
    if checkpoint_of(folder).exists():
        cfg.resume = str(folder)
    return cfg


def release() -> None:
    """Free what a job leaves in its process: compiled graphs, memory of GPUs, an open W&B run."""
    torch, wandb = sys.modules.get("torch"), sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
    gc.collect()
    if torch is not None:
        torch.compiler.reset()
        torch.cuda.empty_cache()


def objective(names: Any, metrics: Metrics | None) -> float | tuple[float, ...] | None:
    """Return what a sweeper optimises: one metric, or several.

    Args:
        names: ``optimized_metric`` of the config: a metric, or a list of them.
        metrics: of a run.

    Raises:
        WsnError: a metric that was not measured.
    """
    if metrics is None:
        return None
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in metrics]
    if unknown:
        raise WsnError(f"optimized_metric={unknown[0]} was not measured. Allowed: {', '.join(sorted(metrics))}")
    values = tuple(metrics[name] for name in wanted)
    return values[0] if isinstance(names, str) else values
