"""Supernets of runs."""

from pathlib import Path

from omegaconf import DictConfig

from wsn.callbacks.checkpoint import load_checkpoint
from wsn.config import build, build_group
from wsn.run.folder import checkpoint_of, read_config
from wsn.supernet import Supernet


def load_supernet(folder: str | Path, cfg: DictConfig | None = None) -> Supernet:
    """Make the supernet of a run and load its weights; the averaged ones where the run kept an average.

    Args:
        folder: the run folder.
        cfg: its config, where it is at hand.
    """
    cfg = cfg or read_config(folder)
    net = build(cfg.method).prepare(build_group(cfg.backbone))
    state = load_checkpoint(checkpoint_of(folder))["state_dict"]
    net.load_state_dict({key.removeprefix("supernet."): value for key, value in state.items()})
    return net.eval()
