"""Train a supernet from a config."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf import DictConfig, OmegaConf

from wsn.callbacks.checkpoint import AtomicCheckpointIO, load_checkpoint
from wsn.callbacks.pareto_logging import ParetoLogging
from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
from wsn.config import build, build_data, build_group
from wsn.data.base import DataModule
from wsn.errors import WsnError
from wsn.logging.console import quiet
from wsn.methods.base import Method
from wsn.module import SupernetModule
from wsn.run.budget import images_for
from wsn.run.devices import own_gpu
from wsn.run.finetune import load_start
from wsn.run.folder import begin_run, checkpoint_of, hold, read_space, save_config
from wsn.schedule import total_epochs

ENDED_BY_SIGTERM = 128 + 15
"""Exit status of a training that a signal ended after it had kept a checkpoint, as shells have it."""


LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "timed out", "Timed out")
"""In what gloo and NCCL say where another process is no more there."""


def train(cfg: DictConfig) -> dict[str, float]:
    """Train as the config says, evaluate, and leave everything in the run folder.

    Returns:
        the last value of each metric: ``test/hypervolume``, ``test/largest/acc``, ``train/gmacs_spent`` ...

    Raises:
        WsnError: what a user can mend; see the message.
    """
    cfg, folder = begin_run(cfg)
    with hold(folder, "training"):
        return _train(cfg, folder)


def _train(cfg: DictConfig, folder: Path) -> dict[str, float]:
    checkpoint, logged = _checkpoint(cfg)
    quiet()
    torch.set_float32_matmul_precision("high")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg.data)
    module = make_module(cfg, data)
    if cfg.get("run") and not cfg.resume:
        load_start(cfg, module)
    if cfg.budget_gmacs and not cfg.resume:
        _keep_to_budget(cfg, module, data)
    save_config(cfg, module.supernet.space, folder)
    callbacks = make_callbacks(cfg, module.method, folder)
    loggers = [build(node) for node in cfg.logger.values() if node is not None]
    for logger in loggers:
        if checkpoint and hasattr(logger, "resume_from"):
            logger.resume_from(*logged)
        if not isinstance(logger, WandbLogger):  # W&B gets the config in a form of its own
            logger.log_hyperparams(OmegaConf.to_container(cfg))
    with own_gpu(cfg.trainer) as trainer_cfg:
        trainer = make_trainer(trainer_cfg, module, callbacks, loggers)
        rank_zero_info(f"Run folder: {folder}")
        try:
            with ending_on_signals():
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        except SIGTERMException:
            if trainer.is_global_zero:
                print(f"Ended by a signal; go on with resume={folder}", file=sys.stderr)
            sys.exit(ENDED_BY_SIGTERM)
        except RuntimeError as error:
            if trainer.world_size > 1 and any(text in str(error) for text in LOST):
                raise WsnError(
                    f"Another process of this training has ended: {str(error).splitlines()[0][:200]}. Its own output "
                    f"says why; if it says nothing, it was killed. Go on with resume={folder}"
                ) from error
            raise
        finally:
            _finish(loggers)
    rank_zero_info(f"Run folder: {folder}")
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Take SIGUSR2, which submitit and schedulers send before they end a job, for SIGTERM, unless somebody takes it."""
    name: Any = getattr(signal, "SIGUSR2", None)
    in_main = threading.current_thread() is threading.main_thread()
    if name is None or not in_main or signal.getsignal(name) is not signal.SIG_DFL:
        yield
        return
    signal.signal(name, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(name, signal.SIG_DFL)


def make_module(cfg: DictConfig, data: DataModule | None = None) -> SupernetModule:
    """Make the LightningModule of a config: supernet, sampler, method, optimizer and schedule.

    Args:
        cfg: as conf/train.yaml; ``resume`` says that training has begun, ``run`` which run it starts from.
        data: what a method looks at before training; None: it is made by the config.
    """
    method = build(cfg.method)
    start = cfg.resume or cfg.get("run")
    net = method.prepare(build_group(cfg.backbone), read_space(start) if start else None)
    if not start:
        if method.init is not None and not cfg.backbone.get("pretrained"):
            method.init(net)
        method.begin(net, data or build_data(cfg.data))
    sampler = build(cfg.sampler, space=net.space, seed=cfg.seed)
    return SupernetModule(
        supernet=net,
        method=method,
        sampler=sampler,
        optimizer=build(cfg.optim.optimizer),
        curve=build(cfg.scheduler.curve),
        warmup_from=cfg.scheduler.warmup_from,
        weight_decay=cfg.optim.weight_decay,
        clip_norm=cfg.optim.clip_norm,
        clip_value=cfg.optim.clip_value,
        accumulate=cfg.optim.accumulate,
        channels_last=cfg.channels_last,
    )


def make_callbacks(cfg: DictConfig, method: Method, folder: Path) -> list[Callback]:
    """Return the callbacks of a run: phases, the method's own, the config's, evaluation, and what records its results.

    Args:
        cfg: as conf/train.yaml.
        method: that of the module.
        folder: the run folder.
    """
    chosen = [_callback(name, build(node)) for name, node in cfg.callbacks.items() if node is not None]
    own = list(method.callbacks.values())
    return [ProgressiveShrinking(), *own, *chosen, build(cfg.evaluation), ParetoLogging(folder, cfg)]


def _callback(name: Any, made: Any) -> Callback:
    if not isinstance(made, Callback):
        raise WsnError(f"callbacks.{name} is no callback of Lightning: {made!r}. Its _target_ must make one")
    return made


def _keep_to_budget(cfg: DictConfig, module: SupernetModule, data: Any) -> None:
    """Set the images per epoch, in the config too, so that a resumed run has as many."""
    sampler = build(cfg.sampler, space=module.supernet.space, seed=cfg.seed)
    sampler.attach(module.supernet)
    least = cfg.data.batch_size * cfg.trainer.get("num_nodes", 1)
    images = images_for(
        cfg.budget_gmacs, module.method, module.supernet, sampler, cfg.optim.accumulate, data.train_size
    )
    cfg.data.images_per_epoch = data.images_per_epoch = max(images, least)
    rank_zero_info(f"{data.images_per_epoch} images per epoch, for {cfg.budget_gmacs} GMACs in all")


def make_trainer(cfg: DictConfig, module: SupernetModule, callbacks: list, loggers: list) -> L.Trainer:
    """Make the Trainer of a config group; its epochs are the sum of the method's phases unless the config says."""
    node = {key: value for key, value in cfg.items() if key not in ("strategy", "plugins")}
    node["max_epochs"] = cfg.max_epochs or total_epochs(module.method.phases)
    strategy = {"strategy": build(cfg.strategy)} if "strategy" in cfg else {}
    plugins = [AtomicCheckpointIO(), *(build(plugin) for plugin in cfg.get("plugins", []))]
    return build(node, callbacks=callbacks, logger=loggers, plugins=plugins, **strategy)


def _checkpoint(cfg: DictConfig) -> tuple[Path | None, tuple[int, dict[str, Any] | None]]:
    """Return the checkpoint to go on from, and what was logged until then: see :meth:`CSVLogger.resume_from`."""
    if not cfg.resume:
        return None, (0, None)
    path = checkpoint_of(cfg.resume)
    checkpoint = load_checkpoint(path)
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]
    return path, (batches, checkpoint.get("last_row"))


def _finish(loggers: list) -> None:
    """End the W&B run, or the next job of this process would write into it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish()
