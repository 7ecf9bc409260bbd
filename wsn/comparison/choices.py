"""The choices of subnets: in few characters for the page, and counted over the members of fronts."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIRST = 48  # code of the first choice, "0"; a skipped block is "-"

Arch = dict[str, Any]


def encode(texts: Sequence[str]) -> dict[str, Any]:
    """Write subnets as one short text each: a character per choice.

    Args:
        texts: choices as JSON, as subnets.csv has them.

    Returns:
        ``values``: dimension → its choices; ``shapes``: lists of (dimension, number of positions, or None
        for a scalar); ``shape`` and ``code`` of each subnet, its choices in the order of its shape as
        ``chr(48 + index)``.

    >>> encode(['{"depth":[2,3],"kernel":[5,null]}'])["code"]
    ['010-']
    """
    letters: dict[str, _Letters] = defaultdict(_Letters)
    shapes: dict[tuple, int] = {}
    shape, code = [], []
    for text in texts:
        arch: Arch = json.loads(text)
        key = tuple((name, len(value) if isinstance(value, list) else None) for name, value in arch.items())
        shape.append(shapes.setdefault(key, len(shapes)))
        code.append("".join(["".join(map(letters[name].__getitem__, positions(v))) for name, v in arch.items()]))
    values = {name: [value for value in found if value is not None] for name, found in letters.items()}
    return {"values": values, "shapes": list(shapes), "shape": shape, "code": code}


class _Letters(dict):
    """A letter for each choice, in the order in which they come."""

    def __init__(self) -> None:
        super().__init__({None: "-"})

    def __missing__(self, value: Any) -> str:
        self[value] = chr(FIRST + len(self) - 1)
        return self[value]


def positions(value: Any) -> list[Any]:
    """Return a dimension's values as a list, of one for a dimension of the whole network."""
    return value if isinstance(value, list) else [value]


def histograms(fronts: Mapping[str, Iterable[str]], uniform: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Count the choices of front members, by dimension, position and method; skipped blocks do not count.

    Args:
        fronts: method → choices of the members of its runs' fronts, as JSON.
        uniform: dimension → the choices that each of its positions has alike; the shares of a uniform draw are then
            known.

    Returns:
        for each dimension in which members differ: ``name``, ``values``, ``counts`` (method → position → value) and
        ``uniform`` (share of each value, or None). Where layers are kept or skipped one by one, their number is a
        dimension too.
    """
    members = {label: [json.loads(text) for text in texts] for label, texts in fronts.items()}
    for arch in (arch for archs in members.values() for arch in archs if "layers" in arch):
        arch["layers kept"] = sum(positions(arch["layers"]))
    names = dict.fromkeys(name for archs in members.values() for arch in archs for name in arch)
    found = (_histogram(name, members, uniform.get(name)) for name in names)
    return [histogram for histogram in found if len(histogram["values"]) > 1]


def _histogram(name: str, members: Mapping[str, Sequence[Arch]], uniform: Sequence[Any] | None) -> dict[str, Any]:
    length = max(len(positions(arch[name])) for archs in members.values() for arch in archs if name in arch)
    counts = {label: [Counter() for _ in range(length)] for label in members}  # type: dict[str, list[Counter]]
    for label, archs in members.items():
        for arch in archs:
            for counter, value in zip(counts[label], positions(arch.get(name))):
                counter[value] += 1
    present = {v for counters in counts.values() for c in counters for v in c} - {None}
    known = uniform is not None and present <= set(uniform)
    values = sorted(set(uniform) if known and uniform else present)
    return {
        "name": name,
        "values": values,
        "counts": [[[c[v] for v in values] for c in counts[label]] for label in members],
        "uniform": [1 / len(values)] * len(values) if known else None,
    }
