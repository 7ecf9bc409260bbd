"""Options of the commands that Hydra does not configure: ``key=value`` too; earlier spellings are translated."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsn.errors import WsnError, listed

REQUIRED: Any = object()
"""Default of an option that must be given."""

_KEY = re.compile(r"[A-Za-z_]\w*$")
_KINDS = {int: ("a whole number", "1"), float: ("a number", "0.5"), bool: ("true or false", "true")}


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Args:
        about: what it is, for ``--help``.
        default: where it is not given; :data:`REQUIRED`: it must be.
        kind: ``str`` as it is written, ``list`` of such, ``int``, ``float``, ``bool``, or ``object``: what YAML reads.
        allowed: its values; empty: any.
        example: a value that help and errors show.
    """

    about: str
    default: Any = None
    kind: type = str
    allowed: Sequence[str] = ()
    example: str = "..."


def read_options(options: Mapping[str, Option], arguments: Sequence[str], word: str | None = None) -> dict[str, Any]:
    """Return the value of every option.

    Args:
        options: of the command.
        arguments: of the command line, in today's spelling or an earlier one, see :func:`translated`.
        word: the option that words without a key were once.

    Raises:
        WsnError: an unknown key, one that is given twice or has no value, or a value that is not allowed.

    >>> options = {"runs": Option("folders", REQUIRED, list), "threads": Option("to use", 1, int)}
    >>> read_options(options, ["runs=[a,b]", "threads=2"])
    {'runs': ['a', 'b'], 'threads': 2}
    """
    found: dict[str, Any] = {}
    for argument in translated(options, arguments, word):
        key, sign, text = argument.partition("=")
        if not sign or not _KEY.match(key):
            raise WsnError(f"Options are key=value. Received {argument!r}. Allowed: {_allowed(options)}")
        if key not in options:
            raise WsnError(f"Unknown option {key!r}. Allowed: {_allowed(options)}")
        if key in found:
            raise WsnError(f"{key} is given twice. Type it once{_several(key, options[key])}")
        found[key] = _value(key, options[key], text)
    for key, option in options.items():
        if option.default is REQUIRED and not found.get(key):
            raise WsnError(f"{key} has no value: {option.about}. Type {key}={option.example}")
    return {key: found.get(key, option.default) for key, option in options.items()}


def translated(options: Mapping[str, Option], arguments: Sequence[str], word: str | None = None) -> list[str]:
    """Return arguments in today's spelling: ``--key value`` and ``--key=value`` are ``key=value``.

    Args:
        options: of the command.
        arguments: of the command line.
        word: the option that words without a key are; None: there is none.

    Raises:
        WsnError: an unknown flag, one without a value, or several words where one is meant.

    >>> options = {"runs": Option("folders", REQUIRED, list), "out": Option("folder")}
    >>> translated(options, ["a", "b", "--out", "c"], word="runs")
    ['out=c', 'runs=["a", "b"]']
    """
    result: list[str] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            (result if _KEY.match(argument.partition("=")[0]) and "=" in argument else words).append(argument)
            continue
        key, sign, text = argument.lstrip("-").partition("=")
        key = key.replace("-", "_")
        if key not in options:
            raise WsnError(f"Unknown option {argument!r}. Allowed: {_allowed(options)}")
        values = [text] if sign else _values_of_flag(rest, options[key].kind is list)
        if not values:
            raise WsnError(f"{argument} has no value. Type {key}={options[key].example}")
        result.append(_override(key, values, options[key]))
    if words and word is None:
        raise WsnError(f"Options are key=value. Received {words[0]!r}. Allowed: {_allowed(options)}")
    return [*result, _override(word, words, options[word])] if words and word is not None else result


def describe(options: Mapping[str, Option]) -> str:
    """Return a line of help for each option."""
    lines = []
    for key, option in options.items():
        value = option.example if option.default is REQUIRED else _written(option.default)
        about = f"{option.about}; {listed(option.allowed, 20)}" if option.allowed else option.about
        lines.append(f"  {f'{key}={value}':<24} {about}")
    return "\n".join(lines)


def _values_of_flag(rest: list[str], several: bool) -> list[str]:
    """Take the values of a flag from the arguments after it."""
    values: list[str] = []
    while rest and not rest[0].startswith("--") and (several or not values):
        values.append(rest.pop(0))
    return values


def _override(key: str, values: Sequence[str], option: Option) -> str:
    """Return today's spelling of an option's values.

    Raises:
        WsnError: several, where there is one.
    """
    if option.kind is list:
        return f"{key}={json.dumps(values, ensure_ascii=False)}"
    if len(values) > 1:
        raise WsnError(f"{key} is one value. Received {listed(values)}. Type {key}={values[0]}")
    return f"{key}={values[0]}"


def _value(key: str, option: Option, text: str) -> Any:
    """Return the value that a text is, of the option's kind.

    Raises:
        WsnError: it is not of that kind, or not allowed.
    """
    if text == "null" and option.default is None:
        return None
    value = _parsed(key, option, text)
    wrong = [v for v in (value if option.kind is list else [value]) if option.allowed and v not in option.allowed]
    if wrong:
        raise WsnError(
            f"{key}={wrong[0]} is unknown. Allowed: {listed(option.allowed, 20)}. Type e.g. {key}={option.allowed[0]}"
        )
    return value


def _parsed(key: str, option: Option, text: str) -> Any:
    if option.kind is str:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    if option.kind is list and not text.startswith("["):
        return [text] if text else []
    value = _yaml(key, text)
    if option.kind is list:
        return [str(v) for v in value]
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if option.kind is not object and (
        not isinstance(value, option.kind) or isinstance(value, bool) != (option.kind is bool)
    ):
        what, example = _KINDS[option.kind]
        raise WsnError(f"{key} must be {what}. Received {text!r}. Type e.g. {key}={example}")
    return value


def _yaml(key: str, text: str) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={text}"]), resolve=True)[key]  # type: ignore
    except (OmegaConfBaseException, YAMLError) as error:
        raise WsnError(f"{key} cannot be read. Received {text!r}: {str(error).splitlines()[0]}") from error


def _allowed(options: Mapping[str, Option]) -> str:
    return ", ".join(f"{key}={option.example}" for key, option in options.items())


def _several(key: str, option: Option) -> str:
    return f": {key}=[a,b]" if option.kind is list else ""


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
