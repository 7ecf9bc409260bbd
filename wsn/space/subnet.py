"""One member of a search space."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from wsn.errors import listed


class Subnet(Mapping):
    """One member of a search space: frozen, hashable, in canonical form.

    Canonical means that blocks which the subnet skips carry no value (``None``), so that
    equal networks compare and hash equal. Made by :meth:`SearchSpace.subnet`, never by hand.

    Values are read by key or attribute: a scalar for a dimension of the whole network, a tuple in
    network order for a dimension of stages or blocks.

    >>> from wsn.space.dimension import Dimension
    >>> from wsn.space.search_space import SearchSpace
    >>> depth, kernel = Dimension("depth", [1, 2], 1, "stage"), Dimension("kernel", [3, 5], 2, "block")
    >>> space = SearchSpace([depth, kernel], stages=[2])
    >>> subnet = space.subnet(depth=1, kernel=5)
    >>> subnet.kernel
    (5, None)
    >>> subnet == space.subnet(depth=1, kernel=[5, 3])
    True
    """

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Any]):
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_hash", hash(tuple(self._values.items())))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"a subnet of this space has {listed(self._values)}; received {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Subnet is frozen; make another with space.subnet(...)")

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subnet) and self._hash == other._hash and self._values == other._values

    def __reduce__(self) -> tuple[type["Subnet"], tuple[Any]]:
        return Subnet, (self._values,)

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={as_json(value)}" for name, value in self._values.items())
        return f"Subnet({body})"

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that identify the subnet, equal across machines and sessions."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def to_json(self) -> str:
        """Return the choices as JSON, skipped blocks as ``null``; :meth:`SearchSpace.read` is its inverse."""
        return json.dumps({name: as_json(value) for name, value in self._values.items()}, separators=(",", ":"))


def as_json(value: Any) -> Any:
    """Return a subnet's value as JSON has it: tuples as lists."""
    return list(value) if isinstance(value, tuple) else value
