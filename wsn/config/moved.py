"""Names of earlier versions and their new ones, so that command lines, run folders and exports keep working."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from wsn import __version__
from wsn.errors import WsnError, listed

FORMAT = 2
"""Of run folders, checkpoints and exports: raised where an earlier wsn cannot read what this one writes."""

KEYS = {f"data.{name}": f"data.hints.{name}" for name in ("resolution", "reduction", "width_mult", "patch_size")}
KEYS.update({"method.couple": "method.follow", "method.of.couple": "method.of.follow"})
"""Config keys → what they are called now."""

GONE = {
    "optim.lr_scale": "Set optim.lr, the base rate of all phases: --cfg job -p optim shows it",
    "sampler.roles": "Roles are a phase's: method.phases.NAME.roles=[max,random,random,min]",
    "callbacks.progressive_shrinking": "It is a part of every run: there is nothing to set",
}
"""Config keys that are no more → what to do in their place."""

PARTS = {
    "alpha_divergence": "wsn.callbacks.distillation.AlphaDivergence",
    "data_importance": "wsn.callbacks.data_importance.DataImportance",
    "delayed_shrinking": "wsn.callbacks.delayed_shrinking.DelayedShrinking",
    "router": "wsn.callbacks.router_costs.RouterCosts",
}
"""Callbacks that make a method: they were in ``callbacks`` and are in ``method.callbacks``."""

TARGETS = {
    "wsn.callbacks.router_annealing.RouterAnnealing": "wsn.callbacks.router_costs.RouterCosts",
}
"""Classes and functions (``_target_``) → where they are now."""

DATA = ("method.data", "method.selection.data", "method.of.data", "method.of.selection.data")
"""Nodes of data, which methods are given now when they begin."""

_PHASE = re.compile(r"(\+{0,2})method\.phases\.([^.]+)(\..+)?$")


_PART = re.compile(r"\+{1,2}method\.((losses|phases)\.[^.=]+)[.=]")
_KIND = {"losses": "loss", "phases": "phase"}  # of the group part, see wsn.config.schema


class Recipe(NamedTuple):
    """What the method that a command line chooses has: phases by name, base learning rate, and all of its parts."""

    phases: Sequence[str]
    lr: float
    parts: Collection[str] = ()  # losses.max, phases.full ...; those that are null too
    doubtful: Collection[str] = ()  # parts that some of the methods of a sweep have, and others not


def recipe_of(cfg: DictConfig) -> Recipe:
    """Return what the method of a config has."""
    parts = [f"{kind}.{name}" for kind in ("phases", "losses") for name in cfg.method[kind]]
    return Recipe([n for n, phase in cfg.method.phases.items() if phase is not None], cfg.optim.lr, parts)


def rename_arguments(arguments: Sequence[str], recipe: Callable[[list[str]], Recipe]) -> list[str]:
    """Return overrides under the names that their keys have now.

    Args:
        arguments: of a command line.
        recipe: overrides → what the config that they choose has; asked for phases by number
            (``method.phases.0.epochs=3``), for their absolute rates (``method.phases.0.lr=0.1``), and where a phase or
            a loss is added (``+method.losses.min.labels=1.0``).

    Raises:
        WsnError: a key that is no more, with what to set in its place, or a number of no phase.

    >>> rename_arguments(["method=ofa", "data.resolution=[16]"], lambda _: Recipe([], 1.0))
    ['method=ofa', 'data.hints.resolution=[16]']
    >>> given = ["method=ofa", "method.phases.1.epochs=2", "method.phases.full.lr=0.1"]
    >>> rename_arguments(given, lambda _: Recipe(["full", "kernel"], 0.2))
    ['method=ofa', 'method.phases.kernel.epochs=2', 'method.phases.full.lr_scale=0.5']
    >>> rename_arguments(["+method.losses.min.labels=1.0"], lambda _: Recipe([], 1.0))
    ['+part@method.losses.min=loss', 'method.losses.min.labels=1.0']
    """
    result: list[str] = []
    others = [a for a in arguments if not _PHASE.match(a.partition("=")[0]) and not _PART.match(a)]
    known: Recipe | None = None
    made: set[str] = set()
    for argument in arguments:
        key, sign, value = argument.partition("=")
        bare = key.lstrip("+~")
        if bare in GONE:
            raise WsnError(f"{bare} is no more. {GONE[bare]}")
        phase = _PHASE.match(key) if sign else None
        if sign and key == "callbacks" and value in PARTS:
            result.append(f"+method.callbacks.{value}._target_={PARTS[value]}")
        elif bare.startswith("callbacks.") and bare.split(".")[1] in PARTS:
            result.append(f"{key.replace('callbacks.', 'method.callbacks.', 1)}{sign}{value}")
        elif sign and bare in KEYS:
            added = "++" if key.startswith("+") else ""  # which may be there today
            result.append(_open(f"{added}{KEYS[bare]}={value}"))
        elif phase and (phase[2].isdigit() or phase[3] == ".lr"):
            known = recipe(others) if known is None else known
            result.append(_open(_of_phase(key, phase, value, known)))
        elif part := _PART.match(argument):
            known = recipe(others) if known is None else known
            if part[1] in known.doubtful:
                raise WsnError(f"{key}: some of these methods have {part[1]}, others not. Use a command for each")
            if part[1] not in made.union(known.parts):  # OmegaConf cannot make a typed node of a mapping
                result.append(f"+part@method.{part[1]}={_KIND[part[2]]}")
                made.add(part[1])
            result.append(_open(argument.lstrip("+")))  # without a plus a misspelt field is refused
        else:
            result.append(_open(argument))
    return result


_OPEN = re.compile(r"(method\.(phases\.[^.=]+\.choices|follow)|evaluation\.named)[.=]")


def _open(argument: str) -> str:
    """Let an override name what the recipe does not: of a phase's choices, of what follows what, of named subnets."""
    return f"++{argument}" if _OPEN.match(argument) else argument


def _of_phase(key: str, found: re.Match[str], value: str, recipe: Recipe) -> str:
    """Return the override of a phase by name, its rate as a multiple of the base rate."""
    plus, name, rest = found.groups()
    if name.isdigit():
        if int(name) >= len(recipe.phases):
            raise WsnError(f"{key}: the phases of this method are {listed(recipe.phases)}. Use their names")
        name = recipe.phases[int(name)]
    if rest != ".lr":
        return f"{plus}method.phases.{name}{rest or ''}={value}"
    if len(recipe.phases) == 1:
        return f"optim.lr={value}"
    try:
        return f"method.phases.{name}.lr_scale={float(value) / recipe.lr!r}"
    except ValueError:
        raise WsnError(
            f"{key} is method.phases.{name}.lr_scale now, a multiple of optim.lr={recipe.lr:g}. Received {value}"
        ) from None


def migrate_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a supernet under today's names: that of slimmable networks once wrapped another one."""
    if not any(name.startswith("net.model.") for name in state):
        return dict(state)
    moved = {"net.": "", "norms.": "providers.0.norms."}
    prefixes = {name: next((p for p in moved if name.startswith(p)), "") for name in state}
    return {moved.get(p, "") + name.removeprefix(p): state[name] for name, p in prefixes.items()}


def stamp() -> dict[str, Any]:
    """Return what says who wrote a file: format and version of wsn."""
    return {"format": FORMAT, "wsn_version": __version__}


def check_format(found: Mapping[str, Any], where: Any) -> None:
    """Check that what was read is not of a newer wsn.

    Args:
        found: config, checkpoint or index; one of before 0.2 says nothing.
        where: its path, for the message.

    Raises:
        WsnError: it is of a newer format.
    """
    number = found.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise WsnError(
            f"{where} was written by wsn {found.get('wsn_version')}, format {number}; this is wsn {__version__}, which "
            f"reads up to format {FORMAT}. Update wsn"
        )


def migrate(cfg: DictConfig) -> DictConfig:
    """Bring a config of an earlier version, or of a user's, to today's keys, in place."""
    with open_dict(cfg):
        for old, new in KEYS.items():
            group, _, key = old.rpartition(".")
            node = OmegaConf.select(cfg, group)
            if isinstance(node, DictConfig) and key in node:
                value = node._get_node(key)
                del node[key]
                OmegaConf.update(cfg, new, value, force_add=True)
        for name in DATA:
            group, _, key = name.rpartition(".")
            node = OmegaConf.select(cfg, group)
            if isinstance(node, DictConfig):
                node.pop(key, None)
        _migrate_method(cfg)
    return cfg


def moved_targets(node: Any) -> Any:
    """Return plain config values whose ``_target_`` are where classes and functions are now."""
    if isinstance(node, Mapping):
        return {key: TARGETS.get(v, v) if key == "_target_" else moved_targets(v) for key, v in node.items()}
    return [moved_targets(value) for value in node] if isinstance(node, list) else node


def _migrate_method(cfg: DictConfig) -> None:
    """Bring phases that are a list, with absolute rates, and callbacks that make the method to where they are now."""
    method = cfg.get("method")
    if not isinstance(method, DictConfig) or not isinstance(method.get("phases"), ListConfig):
        return
    sampler, callbacks, optim = (cfg.get(name) or {} for name in ("sampler", "callbacks", "optim"))
    own = {name: OmegaConf.to_container(callbacks[name]) for name in PARTS if callbacks.get(name) is not None}
    plain: Any = OmegaConf.to_container(method)
    plain = _method(plain, sampler.get("roles"), optim.get("lr", 1.0), optim.get("lr_scale", 1.0))
    cfg.method = {**plain, "callbacks": own}
    for node, gone in ((callbacks, (*PARTS, "progressive_shrinking")), (sampler, ["roles"]), (optim, ["lr_scale"])):
        for name in gone:
            node.pop(name, None)
    for node in (optim, optim.get("optimizer", {})):
        if "lr" in node:
            node["lr"] = 1.0  # with a base of one, rates are what they were, digit for digit


def _method(method: dict[str, Any], roles: Sequence[str] | None, lr: float, lr_scale: float) -> dict[str, Any]:
    """Return a method's config with phases and losses as mappings; so also that of the run a subnet is from."""
    phases: dict[str, Any] = {}
    rate = lr
    for phase in method["phases"]:
        values = {key: value for key, value in phase.items() if key not in ("_target_", "name", "lr")}
        if not values.get("continue_lr"):  # which goes on along the curve of the phase before
            rate = lr if phase.get("lr") is None else phase["lr"]
        values.update(roles=values.get("roles") or list(roles or ["random"]), lr_scale=lr_scale * rate)
        phases[str(phase["name"])] = values
    losses = {
        role: loss and {key: value for key, value in loss.items() if key != "_target_"}
        for role, loss in method["losses"].items()
    }
    found = {**method, "phases": phases, "losses": losses}
    if method.get("of") and isinstance(method["of"]["phases"], list):
        found["of"] = _method(method["of"], None, lr, lr_scale)
    return found
