"""Objects from config nodes: resolvers, types, and the one ``instantiate`` call of wsn."""

import os
import secrets
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsn.config.moved import Recipe, moved_targets, recipe_of, rename_arguments
from wsn.config.schema import register_schema
from wsn.errors import WsnError


def config_dir() -> Path:
    """Return the folder of wsn's configs: ``conf`` in an installed package, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


CONF = config_dir()


def user_configs() -> str:
    """Return the folder of a user's own configs: ``WSN_CONF``, or conf/user of this folder, or that beside wsn's."""
    here = Path("conf", "user")
    return os.environ.get("WSN_CONF") or str(here if here.is_dir() else CONF / "user")


def _range(start: int, stop: int, step: int = 1) -> ListConfig:
    return OmegaConf.create(list(range(start, stop + 1, step)))


def _linspace(start: float, stop: float, count: int) -> ListConfig:
    return OmegaConf.create([round(start + (stop - start) * i / (count - 1), 6) for i in range(count)])


def register_resolvers() -> None:
    """Add resolvers.

    ``${range:start,stop,step}`` (stop included), ``${linspace:start,stop,count}``, ``${wsn.id:}`` (four random hex
    digits), ``${wsn.user_configs:}`` and a basename.
    """
    OmegaConf.register_new_resolver("linspace", _linspace, replace=True)
    OmegaConf.register_new_resolver("range", _range, replace=True)
    OmegaConf.register_new_resolver("wsn.basename", lambda path: Path(path).name, replace=True)
    OmegaConf.register_new_resolver("wsn.user_configs", user_configs, replace=True)
    OmegaConf.register_new_resolver("wsn.id", lambda: secrets.token_hex(2), use_cache=True, replace=True)


register_resolvers()
register_schema()


def build_group(node: Any) -> Any:
    """Make the object of a config group, whose name, inputs and hints are the config's and not the constructor's."""
    return build({key: value for key, value in node.items() if key not in ("name", "inputs", "hints")})


def build_data(node: Any) -> Any:
    """Make the data module of a config, whose ``hints`` are for backbones and ``inputs`` for the early check."""
    return build({key: value for key, value in node.items() if key not in ("hints", "inputs")})


def to_python(node: Any) -> Any:
    """Return a config node as plain Python: dictionaries and lists."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node


def build(node: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the object that a config node describes through ``_target_``: the only instantiate call of wsn.

    Raises:
        WsnError: the target does not exist or cannot be made so; the text holds the cause and the node.
    """
    if not isinstance(node, DictConfig | dict) or "_target_" not in node:
        raise WsnError(f"A config node needs a _target_ (the class to make). Received {node}")
    try:
        return instantiate(moved_targets(to_python(node)), *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
            if isinstance(cause, WsnError):
                raise WsnError(str(cause)) from error
        where = getattr(node, "_get_full_key", lambda _: "")(None) or "config"
        raise WsnError(
            f"Cannot make {node['_target_']} from the config node {where!r}: {type(cause).__name__}: "
            f"{' '.join(str(cause).split())}"
        ) from error


def compose(conf: Path, overrides: list[str], name: str = "train") -> DictConfig:
    """Return a config as the command line would make it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    def recipe(others: list[str]) -> Recipe:
        cfg = hydra_compose(name, others)
        return recipe_of(cfg)

    with initialize_config_dir(str(Path(conf).resolve()), version_base="1.3"):
        return hydra_compose(name, rename_arguments(overrides, recipe))
