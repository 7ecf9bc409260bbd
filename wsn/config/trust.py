"""What a config that was read from a folder may make: parts of wsn, and what the user says that they trust.

A run folder or an export may be somebody else's, and a ``_target_`` can name anything that Python can call. Allowed are
the very objects that the shipped configs name, subclasses of wsn's public bases, and what the user's own configs
(``WSN_CONF``) name or modules in ``WSN_TRUST``. Objects are compared, not their names: another way to spell one is that
object, and a name that merely begins with ``wsn.`` is not.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wsn.config.make import CONF, user_configs
from wsn.config.moved import TARGETS
from wsn.errors import WsnError

TRUST = "WSN_TRUST"
"""Environment variable: modules, separated by commas, that configs in folders may name."""

BASES = (
    "wsn.supernet.Supernet", "wsn.methods.base.Method", "wsn.samplers.base.Sampler", "wsn.data.base.DataModule",
    "wsn.callbacks.common.SupernetCallback", "wsn.cost_models.base.CostModel", "wsn.providers.base.Provider",
    "wsn.search.strategies.Strategy",
)  # fmt: skip
"""Public base classes: a subclass that is wsn's own may be made."""

_TARGET = re.compile(r"""_target_["']?\s*:\s*["']?([\w.]+)""")


def check_trusted(node: Any, where: Any, trusted: Iterable[str] = ()) -> None:
    """Check every ``_target_`` of a config, before any of it is made.

    Saved configs are resolved, so what refers to something else is refused as well: ``${oc.decode:...}`` can make a
    target of a text.

    Args:
        node: a config as it was read from ``where``, not resolved.
        where: file, for the message.
        trusted: modules besides those of ``WSN_TRUST``.

    Raises:
        WsnError: a target is neither a part of wsn nor trusted, with what to set; or an interpolation.
    """
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    if found := next(interpolations_of(plain), None):
        raise WsnError(f"{where} has {found[:80]!r}, and saved configs have no interpolations. Write its value there")
    modules = {*trusted, *trusted_modules()}
    for target in sorted(set(targets_of(plain))):
        if not is_named_by(target, modules) and not is_allowed(target):
            module = target.rpartition(".")[0].partition(".")[0] or target
            raise WsnError(
                f"{where} names {target!r}, which is no part of wsn: making it could run any code. If you know where "
                f"the folder comes from, trust that module: trust=[{module}], or {TRUST}={module} before the command"
            )


def trusted_modules() -> set[str]:
    """Return the modules that the user trusts: those of ``WSN_TRUST``, and their own that their configs name."""
    packages = {target.partition(".")[0] for target in _named_in(CONF)}  # of which configs may name a part, not all
    named = {target.rpartition(".")[0] for target in _user_targets() if target.partition(".")[0] not in packages}
    return {name.strip() for name in (*os.environ.get(TRUST, "").split(","), *named) if name.strip()}


def is_named_by(target: str, modules: Iterable[str]) -> bool:
    """Tell whether a name is one of these modules, or is in one."""
    return any(target == module or target.startswith(f"{module}.") for module in modules)


def targets_of(node: Any) -> Iterator[str]:
    """Yield the targets of plain config values, under the names that they have now."""
    for part in _parts(node):
        if isinstance(part, Mapping) and "_target_" in part:
            target = str(part["_target_"])
            yield TARGETS.get(target, target)


def interpolations_of(node: Any) -> Iterator[str]:
    """Yield the texts of plain config values that refer to something else."""
    return (part for part in _parts(node) if isinstance(part, str) and "${" in part)


def _parts(node: Any) -> Iterator[Any]:
    """Yield a node and all that is in it."""
    yield node
    inside = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    for value in inside:
        yield from _parts(value)


def is_allowed(target: str) -> bool:
    """Tell whether a target is an object of the shipped or the user's configs, or a subclass of wsn's bases."""
    if target in _named_in(CONF) or target in _user_targets():
        return True
    if not target.startswith("wsn."):  # looking at it would import it
        return False
    found = _resolved(target)
    if isinstance(found, type):
        home = found.__module__.partition(".")[0]
        if home == "wsn" and any(isinstance(base, type) and issubclass(found, base) for base in map(_resolved, BASES)):
            return True
    return found is not None and any(found is _resolved(name) for name in _named_in(CONF) if name.startswith("wsn."))


def _user_targets() -> frozenset[str]:
    return _named_in(Path(user_configs()))


@functools.lru_cache
def _named_in(folder: Path) -> frozenset[str]:
    """Return the targets that the configs of a folder name."""
    texts = [path.read_text("utf-8", "replace") for path in folder.rglob("*.yaml")] if folder.is_dir() else []
    return frozenset(TARGETS.get(name, name) for text in texts for name in _TARGET.findall(text))


def _resolved(target: str) -> Any:
    """Return the object of a name, whose modules are imported as far as they are wsn's own; None without one."""
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def trusting(modules: Iterable[str] | None) -> None:
    """Trust modules from now on in this process, and in those that it starts."""
    before = os.environ.get(TRUST)
    if modules:
        os.environ[TRUST] = ",".join([*([before] if before else []), *modules])
