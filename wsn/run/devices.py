"""The choice of a GPU where several runs share a machine."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from wsn.files import locked


@contextmanager
def own_gpu(trainer: DictConfig) -> Iterator[DictConfig]:
    """Give a run that wants one GPU of several one that no other run of this machine has, while it lasts.

    Runs of one user find each other through locks in the temporary folder, whatever launcher started them. If all
    GPUs are taken, jobs of a sweep share them in turn.

    Args:
        trainer: the config group; ``devices: 1`` and an accelerator that may be a GPU take part.

    Yields:
        the group, with the index of the GPU as ``devices`` where one was chosen.
    """
    count = torch.cuda.device_count()
    if trainer.devices != 1 or trainer.accelerator not in ("gpu", "cuda", "auto") or count < 2:
        yield trainer
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    with ExitStack() as stack:
        owner = getattr(os, "getuid", getpass.getuser)()  # a number on POSIX, a name on Windows
        names = [f"wsn-{owner}-gpu-{name.strip()}.lock" for name in visible.split(",")]
        locks = (locked(Path(tempfile.gettempdir()) / name) for name in names)
        free = (i for i, lock in enumerate(locks) if stack.enter_context(lock))
        index = next(free, _job_number() % count)
        chosen = OmegaConf.create(OmegaConf.to_container(trainer))
        chosen.devices = [index]
        yield chosen  # type: ignore[misc]


def _job_number() -> int:
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().job, "num"):
        return 0
    return HydraConfig.get().job.num
