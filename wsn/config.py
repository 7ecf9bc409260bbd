"""Configuration: resolvers, the one ``instantiate`` call, and checks that need no torch.

Imported before anything heavy, so that ``--help`` and mistakes answer within a second.
"""

import functools
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from wsn.dimension import Dimension
from wsn.errors import WsnError, listed

DIMENSIONS = (
    "depth", "width", "kernel", "expand", "resolution", "embed_dim", "heads", "mlp_ratio", "ffn", "patch_size",
    "layers",
)  # fmt: skip


def _range(start: int, stop: int, step: int = 1) -> ListConfig:
    return OmegaConf.create(list(range(start, stop + 1, step)))


def _linspace(start: float, stop: float, count: int) -> ListConfig:
    return OmegaConf.create([round(start + (stop - start) * i / (count - 1), 6) for i in range(count)])


def register_resolvers() -> None:
    """Add resolvers.

    ``${range:start,stop,step}`` (stop included), ``${linspace:start,stop,count}``, ``${wsn.id:}`` (four random hex
    digits), and a basename.
    """
    OmegaConf.register_new_resolver("linspace", _linspace, replace=True)
    OmegaConf.register_new_resolver("range", _range, replace=True)
    OmegaConf.register_new_resolver("wsn.basename", lambda path: Path(path).name, replace=True)
    OmegaConf.register_new_resolver("wsn.id", lambda: secrets.token_hex(2), use_cache=True, replace=True)


register_resolvers()


MOVED = {f"data.{name}": f"data.hints.{name}" for name in ("resolution", "reduction", "width_mult", "patch_size")}
"""Config keys of earlier versions → what they are called now; on the command line and in the configs of run folders."""


def renamed(arguments: list[str]) -> list[str]:
    """Return overrides under the names that their keys have now, see :data:`MOVED`.

    >>> renamed(["method=ofa", "data.resolution=[16]"])
    ['method=ofa', 'data.hints.resolution=[16]']
    """
    result = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        result.append(f"{MOVED[key]}={value}" if sign and key in MOVED else argument)
    return result


def rename_keys(cfg: DictConfig) -> DictConfig:
    """Move the values of a saved config to the names that their keys have now, in place."""
    for old, new in MOVED.items():
        group, _, key = old.rpartition(".")
        node = OmegaConf.select(cfg, group)
        if isinstance(node, DictConfig) and key in node:
            value = node[key]
            with open_dict(cfg):
                del node[key]
                OmegaConf.update(cfg, new, value, force_add=True)
    return cfg


def build_group(node: Any) -> Any:
    """Make the object of a config group, whose ``name`` is the config's and not the constructor's."""
    return build({key: value for key, value in node.items() if key != "name"})


def build_data(node: Any) -> Any:
    """Make the data module of a config, whose ``hints`` are for backbones."""
    return build({key: value for key, value in node.items() if key != "hints"})


def plain(node: Any) -> Any:
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
        return instantiate(node, *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
            if isinstance(cause, WsnError):
                raise WsnError(str(cause)) from error
        where = getattr(node, "_get_full_key", lambda _: "")(None) or "config"
        raise WsnError(
            f"Cannot make {node['_target_']} from the config node {where!r}: {type(cause).__name__}: {cause}"
        ) from error


def compose(conf: Path, overrides: list[str], name: str = "train") -> DictConfig:
    """Return a config as the command line would make it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(Path(conf).resolve()), version_base="1.3"):
        return hydra_compose(name, renamed(overrides))


def command_line(arguments: list[str]) -> list[str]:
    """Return the overrides of a command line as Hydra takes them: renamed and quoted."""
    return quoted(renamed(arguments))


def quoted(arguments: list[str]) -> list[str]:
    """Quote the values of overrides that compare, which Hydra's grammar does not know bare: ``subnet=best@macs<=2e8``.

    >>> quoted(["run=a", "subnet=best@macs<=2e8", "constraints=[macs<=2e8,acc>=0.7]"])
    ['run=a', "subnet='best@macs<=2e8'", "constraints='[macs<=2e8,acc>=0.7]'"]
    """
    result = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        compares = sign and ("<" in value or ">" in value) and not set(value) & set("\"'")
        result.append(f"{key}='{value}'" if compares else argument)
    return result


PLUGINS = {
    "launcher=joblib": ("hydra_joblib_launcher", "sweep"),
    "launcher=submitit": ("hydra_submitit_launcher", "sweep"),
    "launcher=slurm": ("hydra_submitit_launcher", "sweep"),
    "launcher=ray": ("hydra_ray_launcher", "ray"),
    "hparams_search=": ("hydra_optuna_sweeper", "sweep"),
}


def require_plugin(arguments: list[str]) -> None:
    """Exit with what to install, where an override needs a plugin of Hydra that is not there."""
    for argument in arguments:
        for start, (plugin, extra) in PLUGINS.items():
            if argument.startswith(start) and find_spec(f"hydra_plugins.{plugin}") is None:
                print(f'error: {argument} needs a plugin: pip install -e ".[{extra}]"', file=sys.stderr)
                sys.exit(1)


def explain(error: BaseException) -> str | None:
    """Return what to tell a user about an error that they can mend; None for one that is ours."""
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or str(error)
        return f"{key} has no value. Pass it on the command line: {key}=..."
    if isinstance(error, OmegaConfBaseException):
        hint = (
            " Say what suits networks on this data, in its yaml (defaults: [/hints@hints: small_images]) or here "
            "(+data.hints.NAME=...)"
            if "data.hints" in str(error)
            else ""
        )
        return f"Config error: {error}{hint}"
    return str(error) if isinstance(error, WsnError) else None


def main_errors(run: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Print an error that :func:`explain` knows alone, without a trace, and exit with 1."""

    @functools.wraps(run)
    def guarded(cfg: DictConfig) -> Any:
        try:
            return run(cfg)
        except (OmegaConfBaseException, WsnError) as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"error: {explain(error)}", file=sys.stderr)
            sys.exit(1)

    return guarded


def check(cfg: DictConfig) -> None:
    """Find mistakes in a training configuration before anything heavy is imported.

    Raises:
        WsnError: what was received, what is allowed, and which override mends it.
    """
    _check_task(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise WsnError(f"{missing[0]} has no value. Pass it on the command line: {missing[0]}=...")
    _check_data_root(cfg)
    choices = check_space(cfg.backbone)
    for phase in cfg.method.get("phases") or []:
        _check_phase(phase, choices)
    _positive(
        cfg, "budget_gmacs", "data.batch_size", "data.eval_batch_size", "optim.lr", "optim.lr_scale", "optim.accumulate"
    )


def _check_task(cfg: DictConfig) -> None:
    """Check that backbone and data are both of images or both of text."""
    reads = "text" if "model_dir" in cfg.backbone else "images"
    if {"sequence_length", "calibration_images"} <= cfg.data.keys():
        small, other = ("fast_language", "fast") if reads == "text" else ("fast", "fast_language")
        raise WsnError(f"backbone={cfg.backbone.name} reads {reads}, which debug={other} is not for. Set debug={small}")
    has = "text" if "sequence_length" in cfg.data else "images"
    if reads != has:
        choose = "data=shakespeare, or data=text" if reads == "text" else "backbone=llama, or backbone=gpt2"
        raise WsnError(f"backbone={cfg.backbone.name} reads {reads}, data={cfg.data.name} has {has}. Set e.g. {choose}")


def _check_data_root(cfg: DictConfig) -> None:
    """Check that the data folder is given, and exists where the data set cannot be downloaded."""
    root = cfg.data.get("root")
    if root is not None and not cfg.data.get("download", False) and not Path(root).expanduser().is_dir():
        raise WsnError(
            f"data.root: the folder {root} does not exist. Pass the folder that holds the data, data.root=/path, or "
            "take the packaged data: data=fashion_mnist_small"
        )


def check_space(backbone: Mapping[str, Any]) -> dict[str, set]:
    """Return the choices of each elastic dimension of a backbone node, over all positions; empty: of the network."""
    choices: dict[str, set] = {}
    for name in DIMENSIONS:
        if name in backbone and (backbone[name] is None or backbone[name] == "full" and "model_dir" in backbone):
            choices[name] = set()  # the network says
        elif name in backbone:
            value: Any = backbone[name]
            value = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
            nested = isinstance(value, list) and value and isinstance(value[0], list)
            dimension = Dimension(name, value, len(value) if nested else 1)
            choices[name] = {c for position in dimension.choices for c in position}
    return choices


def _check_phase(phase: Mapping[str, Any], choices: Mapping[str, set]) -> None:
    for name, values in (phase.get("choices") or {}).items():
        if name not in choices:
            raise WsnError(
                f"method: phase {phase['name']!r} restricts {name!r}, which this backbone does not have; it has "
                f"{listed(choices)}. Take another backbone, or another method"
            )
        if not choices[name]:
            continue
        if isinstance(values, str):  # top1, top2 ...
            Dimension(name, sorted(choices[name])).restrict(values)
            continue
        values = values if isinstance(values, ListConfig | list) else [values]
        flat = [v for value in values for v in (value if isinstance(value, ListConfig | list) else [value])]
        unknown = [v for v in flat if v not in choices[name]]
        if unknown:
            raise WsnError(
                f"method: phase {phase['name']!r} asks for {name} {listed(unknown)}, which the backbone does not "
                f"have: backbone.{name} is {listed(sorted(choices[name]))}. Make them agree, or write top1, top2 ... "
                "for the largest choices, whatever they are"
            )


def _positive(cfg: DictConfig, *keys: str) -> None:
    for key in keys:
        value = OmegaConf.select(cfg, key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
            raise WsnError(f"{key} must be a positive number. Received {value!r}; set e.g. {key}=1")
