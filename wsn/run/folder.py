"""Run folders: the resolved config, checkpoints and results of one run."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wsn.config.moved import check_format, migrate, stamp
from wsn.config.trust import check_trusted
from wsn.errors import WsnError, listed
from wsn.evaluation.quality import read_quality
from wsn.files import locked, sweep_away, write_atomically
from wsn.space import SearchSpace

DEVICES = ("accelerator", "devices", "num_nodes", "precision")
CONFIG, SPACE = "config.yaml", "space.json"
WHICH = ("last", "best")


def checkpoint_of(folder: str | Path, which: str | Path = "last") -> Path:
    """Return the path of a run's checkpoint.

    Args:
        folder: the run folder.
        which: ``last``, ``best`` (on held-out data, see :class:`wsn.callbacks.checkpoint.StepCheckpoint`), or a path.

    Raises:
        WsnError: a path that does not exist, or a run that has no best checkpoint.
    """
    if which == "last":
        return Path(folder) / "checkpoints" / "last.ckpt"
    path = Path(folder) / "checkpoints" / "best.ckpt" if which == "best" else Path(which)
    if not path.is_file():
        have = sorted(p.stem for p in (Path(folder) / "checkpoints").glob("*.ckpt"))
        raise WsnError(f"checkpoint={which}: there is no file {path}. {folder} has {listed(have) or 'no checkpoint'}")
    return path


def begin_run(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """Return the config and folder of a new run, or of the one that ``resume`` names.

    A resumed run uses the config of its folder; overrides of single values beside ``resume=`` are applied to it, and
    ``trainer=ddp`` chooses other devices.

    Raises:
        WsnError: the folder of ``resume`` is not a run's.
    """
    if not cfg.resume:
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            cfg.paths.run_dir = HydraConfig.get().runtime.output_dir
        OmegaConf.resolve(cfg)
        return cfg, Path(cfg.paths.run_dir)
    folder = Path(cfg.resume)
    saved = read_config(folder)
    for override in _overrides():
        key, _, value = override.lstrip("+").partition("=")
        if key in ("resume", "trust"):
            continue
        if key == "trainer":  # on other devices, or in more processes
            saved.trainer = {**_common(saved.trainer, cfg.trainer), **{k: cfg.trainer[k] for k in DEVICES}}
            continue
        group, _, last = key.rpartition(".")
        node = OmegaConf.select(saved, group) if group else saved
        if not isinstance(node, DictConfig) or last not in node or isinstance(node.get(last), DictConfig):
            raise WsnError(
                f"{override!r} cannot be changed in a resumed run, whose config is {folder / CONFIG}. Allowed beside "
                "resume= are single values, e.g. trainer.max_epochs=20"
            )
        OmegaConf.update(saved, key, _parse(value))
    OmegaConf.update(saved, "resume", str(folder))
    return saved, folder


def _common(saved: DictConfig, chosen: DictConfig) -> dict[str, Any]:
    """Return a trainer's group as it was chosen, with the saved values of what both have."""
    plain: Any = OmegaConf.to_container(chosen)
    return {key: saved.get(key, value) for key, value in plain.items()}


def read_config(folder: str | Path, trust: Sequence[str] = ()) -> DictConfig:
    """Read the config of a run folder; its paths are those of where the folder is now.

    Args:
        folder: the run folder.
        trust: modules that the config may name besides wsn's parts, see :mod:`wsn.config.trust`.

    Raises:
        WsnError: the folder does not exist, or holds no run, or its config is damaged or names what is not trusted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WsnError(f"The run folder {folder} does not exist. Pass one that wsn train printed, outputs/train/...")
    path = folder / CONFIG
    try:
        cfg = OmegaConf.load(path)
    except FileNotFoundError:
        raise WsnError(f"{folder} is not a run folder: it has no {CONFIG}") from None
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:  # ValueError: no text in UTF-8
        raise WsnError(f"{path} is damaged: {' '.join(str(error).split())[:200]}. Restore it from a copy") from error
    if not isinstance(cfg, DictConfig) or not {"method", "backbone", "paths"} <= cfg.keys():
        raise WsnError(f"{path} is damaged: it is not the config of a run. Restore it from a copy")
    check_format(cfg, path)
    cfg = migrate(cfg)
    check_trusted(cfg, path, trust)
    read_quality(folder)
    old = OmegaConf.select(cfg, "paths.run_dir")
    return cfg if old is None else OmegaConf.create(_moved(OmegaConf.to_container(cfg), str(old), str(folder)))


@rank_zero_only
def save_config(cfg: DictConfig, space: SearchSpace, folder: Path) -> None:
    """Write the resolved config and the space into the run folder, which is made; by the first process only."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SPACE, space.to_json())
        values: Any = OmegaConf.to_container(cfg)
        write_atomically(folder / CONFIG, OmegaConf.to_yaml({**values, "resume": None, **stamp()}))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say in one error which folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise WsnError(
            f"Cannot write the run folder {folder}: {error.strerror}. Choose another with paths.output_dir=/path"
        ) from error


@contextmanager
def hold(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for what writes into it; of several processes of one training the first one does.

    Args:
        folder: of a run, or of a search; made where it is missing.
        doing: ``training`` ..., in the name of the lock file and in the error.

    Raises:
        WsnError: another process holds it, which is named; or the folder cannot be written.
    """
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    who = folder / f".{doing}.by"
    with ExitStack() as held:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            ours = held.enter_context(locked(folder / f".{doing}.lock"))
            if ours:
                for part in (folder, folder / "checkpoints"):
                    sweep_away(part)
                write_atomically(who, f"process {os.getpid()} of {socket.gethostname()}")
        if not ours:
            holder = who.read_text("utf-8") if who.exists() else "another process"
            raise WsnError(
                f"{folder} is in use: {holder} is {doing} there. Wait until it ends, or stop it; a new run has a "
                "folder of its own"
            )
        yield


def read_space(folder: str | Path) -> SearchSpace | None:
    """Read the space of a folder; None where a run of before 0.2 has not written it.

    Raises:
        WsnError: the file is damaged.
    """
    path = Path(folder) / SPACE
    return SearchSpace.from_json(path.read_text("utf-8", "replace")) if path.exists() else None


def _moved(node: Any, old: str, new: str) -> Any:
    """Return a config in which what is in the folder ``old`` is in ``new``: a run folder may have been moved."""
    if isinstance(node, dict):
        return {key: _moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, old, new) for value in node]
    inside = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return new + node[len(old) :] if inside else node


def _overrides() -> list[str]:
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.MULTIRUN:
        return []  # a job of a sweep is resumed by the overrides that it was started with
    return [o for o in HydraConfig.get().overrides.task]


def _parse(value: str) -> Any:
    return OmegaConf.create(f"value: {value}").value
