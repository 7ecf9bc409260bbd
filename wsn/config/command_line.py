"""The command line: what Hydra is given, and how mistakes are told."""

import functools
import itertools
import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from wsn.config.make import CONF, compose, user_configs
from wsn.config.moved import Recipe, recipe_of, rename_arguments
from wsn.errors import WsnError, listed, not_written

SWEPT = ("method", "experiment")
"""Groups that say which phases and losses there are."""


def command_line(arguments: list[str], name: str = "train") -> list[str]:
    """Return the overrides of a command line as Hydra takes them: renamed and quoted; exits where one is no more."""

    def recipe(others: list[str]) -> Recipe:
        return _recipe([a for a in others if "=" in a and not a.startswith("-")], name)

    try:
        check_dialect(arguments, name)
        check_groups(arguments)
        return opened(quoted(rename_arguments(quoted(arguments), recipe)), name)
    except WsnError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def check_dialect(arguments: list[str], name: str) -> None:
    """Check that arguments are flags of Hydra or overrides.

    Args:
        arguments: of a command line.
        name: of the command.

    Raises:
        WsnError: another flag, or a word without a key; with what to type in its place.
    """
    known, others = get_args_parser().parse_known_args(arguments)
    for argument in others:
        key, _, value = argument.lstrip("-").partition("=")
        if argument.startswith("-"):
            example = f"{key.replace('-', '_')}={value or '...'}"
            raise WsnError(f"wsn {name} has no flag {argument}. Options are key=value: type {example}")
    for argument in (*known.overrides, *others):
        if "=" not in argument and not argument.startswith("~"):
            example = f"run={argument}" if name != "train" else f"method={argument}"
            raise WsnError(f"wsn {name}: {argument!r} has no key. Options are key=value: type e.g. {example}")


NULLABLE = ("experiment", "debug", "launcher", "hparams_search")
"""Groups of which none may be chosen."""


def check_groups(arguments: list[str]) -> None:
    """Check that what is chosen of wsn's config groups is there.

    Args:
        arguments: of a command line.

    Raises:
        WsnError: the choice, what is close to it, and all that there is.
    """
    if any(a in ("-cd", "-cp", "--config-dir", "--config-path") or a.startswith("hydra.searchpath") for a in arguments):
        return  # configs of other folders are Hydra's to find
    for argument in arguments:
        group, sign, value = argument.partition("=")
        folders = [folder / group for folder in (CONF, Path(user_configs())) if (folder / group).is_dir()]
        if not sign or not re.fullmatch("[a-z_]+", group) or not folders or set(value) & set("({$'\""):
            continue
        known = sorted({p.relative_to(f).with_suffix("").as_posix() for f in folders for p in f.rglob("*.yaml")})
        for choice in value.strip("[]").split(","):
            if choice in known or (choice == "null" and group in NULLABLE):
                continue
            close = get_close_matches(choice, known, n=1)
            hint = f"Did you mean {group}={close[0]}? " if close else ""
            raise WsnError(f"{group}={choice}: there is no such config. {hint}Allowed: {listed(known, 40)}")


def _recipe(overrides: list[str], name: str) -> Recipe:
    """Return the phases and the base rate of the method that overrides choose.

    Raises:
        WsnError: they choose several methods whose phases have different names.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    chosen = [o for o in parsed if o.key_or_group in ("method", "experiment", "optim", "optim.lr")]
    values = [[str(v) for v in (o.sweep_string_iterator() if o.is_sweep_override() else [o.value()])] for o in chosen]
    found = []
    for combination in itertools.product(*values):
        found.append(recipe_of(compose(CONF, [f"{o.key_or_group}={v}" for o, v in zip(chosen, combination)], name)))
    different = {tuple(recipe.phases) for recipe in found}
    if len(different) > 1:
        raise WsnError(
            "method.phases.N=... is by number, but these methods have different phases: "
            f"{'; '.join(', '.join(names) for names in sorted(different))}. Use names, in a command for each method"
        )
    everywhere = set.intersection(*(set(recipe.parts) for recipe in found))
    anywhere = set().union(*(recipe.parts for recipe in found))
    return found[-1]._replace(parts=everywhere, doubtful=anywhere - everywhere)


def opened(arguments: list[str], name: str) -> list[str]:
    """Let a sweep over methods override what its methods have and the default method has not.

    Hydra composes a sweep once without what is swept, where ``method.phases.all.epochs=1`` would be refused: it becomes
    a sweep over one value, ``method.phases.all.epochs=choice(1)``, after a look at each method.

    Raises:
        WsnError: one of the methods has no such key.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    parser = OverridesParser.create()
    given = [a for a in arguments if "=" in a and not a.startswith("-")]
    swept = [o for o in parser.parse_overrides(given) if o.is_sweep_override() and o.key_or_group in SWEPT]
    own = [a for a in given if a.startswith("method.")]
    added = [a for a in given if a.startswith("+part@")]
    if not swept or not own:
        return arguments
    parsed = parser.parse_overrides(own)
    single = {o.input_line for o in parsed if not o.is_sweep_override()}
    values = [
        o.get_value_element_as_str() if o.input_line in single else next(o.sweep_string_iterator()) for o in parsed
    ]
    first = [f"{o.key_or_group}={value}" for o, value in zip(parsed, values)]
    for chosen in itertools.product(*(list(o.sweep_string_iterator()) for o in swept)):
        groups = [f"{o.key_or_group}={v}" for o, v in zip(swept, chosen)]
        try:
            compose(CONF, [*groups, *added, *first], name)
        except HydraException as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            raise WsnError(
                f"{' '.join(own)} is not for {' '.join(groups)}: {cause}. Sweep over methods that have it"
            ) from error
    return [f"{a.partition('=')[0]}=choice({a.partition('=')[2]})" if a in single else a for a in arguments]


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


def explain(error: BaseException, advice: str = "") -> str | None:
    """Return what to tell a user about an error that they can mend; None for one that is ours.

    Args:
        error: what was raised.
        advice: what to do where the disk was full, see :func:`wsn.errors.not_written`.
    """
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
    return str(error) if isinstance(error, WsnError) else not_written(error, advice)


def main_errors(run: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Print an error that :func:`explain` knows alone, without a trace, and exit with 1."""

    @functools.wraps(run)
    def guarded(cfg: DictConfig) -> Any:
        try:
            return run(cfg)
        except Exception as error:
            folder = cfg.get("resume") or OmegaConf.select(cfg, "paths.run_dir", throw_on_missing=False)
            text = explain(error, f"Then go on with resume={folder}" if folder else "Then type the command again")
            if text is None or os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"error: {text}", file=sys.stderr)
            sys.exit(1)

    return guarded
