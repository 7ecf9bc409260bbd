"""Names of a package that are imported when they are first asked for, so that importing the package costs nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        home: public name → the module that defines it.
    """

    def get(name: str) -> Any:
        """Import a name.

        Raises:
            AttributeError: the package has no such name.
        """
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        """Return the public names, imported or not, and what every module has, ``__doc__`` and the like."""
        return sorted({*home, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return get, names
