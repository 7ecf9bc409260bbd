"""Search spaces and subnets: which networks a supernet contains.

Pure Python, so that a configuration can be checked without importing torch.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.space import specs
from wsn.space.dimension import Choice, Dimension
from wsn.space.follow import Follow
from wsn.space.subnet import Subnet, as_json


class SearchSpace:
    """Named elastic dimensions with ordered choices: the set of subnets of one supernet.

    A dimension called ``depth`` (one position per stage) keeps the first ``depth`` blocks of each
    stage; one called ``layers`` keeps any set of blocks (1 kept, 0 skipped, at least one kept). Dimensions of scope
    ``block`` have one position for each block in network order.

    Args:
        dimensions: the elastic dimensions.
        stages: the largest number of blocks of each stage.
        followers: dimension → the dimension whose choices its own follow, see :meth:`follow`.

    >>> depth, kernel = Dimension("depth", [1, 2], 1, "stage"), Dimension("kernel", [3, 5], 2, "block")
    >>> space = SearchSpace([depth, kernel], stages=[2])
    >>> space.size()
    6
    >>> space.max()
    Subnet(depth=[2], kernel=[5, 5])
    """

    def __init__(
        self,
        dimensions: Iterable[Dimension],
        stages: Sequence[int] = (),
        followers: Mapping[str, "Follow"] | None = None,
    ):
        self.dimensions = {d.name: d for d in dimensions}
        self.stages = tuple(stages)
        blocks = sum(self.stages)
        for d in self.dimensions.values():
            if d.scope == "block" and len(d) != blocks:
                raise WsnError(f"{d.name}: a block dimension needs {blocks} positions. Received {len(d)}")
        depth = self.dimensions.get("depth")
        if depth is not None:
            for stage, (choices, largest) in enumerate(zip(depth.choices[depth.offset :], self.stages)):
                bad = [c for c in choices if c != int(c) or c > largest]
                if bad:
                    raise WsnError(f"depth: stage {stage} has {largest} blocks. Received {bad[0]}")
        self.followers = dict(followers or {})

    # -- making subnets ---------------------------------------------------------------------------

    def subnet(self, **values: Any) -> Subnet:
        """Make a subnet from a scalar (used everywhere) or a list in network order per dimension.

        A list has one entry per position (per stage for ``depth``, per block for ``kernel``); the entries of
        skipped blocks are ignored, or left out altogether. A dimension that is left out takes its largest choice.
        ``layers`` may also be the indices of the kept layers.

        Raises:
            WsnError: an unknown name, a wrong length, or a value that the space does not have;
                the text lists what is allowed.
        """
        unknown = [name for name in values if name not in self.dimensions]
        if unknown:
            raise WsnError(f"Unknown dimension {listed(unknown)}. This space has:\n{self.describe()}")
        full: dict[str, list[Any]] = {}
        for name, dim in sorted(self.dimensions.items(), key=lambda item: item[1].scope == "block"):
            value = values.get(name)
            full[name] = [c[-1] for c in dim.choices] if value is None else self._spread(dim, value, full)
        subnet = self.canonical(full)
        self._check(subnet)
        for name in values.keys() & self.followers.keys():
            wanted = self.canonical(full, follow=False)[name]
            if wanted != subnet[name]:
                raise WsnError(
                    f"{name}: it follows {self.followers[name].leader} here, which gives {as_json(subnet[name])}. "
                    f"Received {values[name]}; leave {name} out"
                )
        return subnet

    def max(self) -> Subnet:
        """Return the largest subnet."""
        return self.canonical({n: [c[-1] for c in d.choices] for n, d in self.dimensions.items()})

    def min(self) -> Subnet:
        """Return the smallest subnet."""
        return self.canonical({n: [c[0] for c in d.choices] for n, d in self.dimensions.items()})

    def middle(self) -> Subnet:
        """Return the subnet that takes the middle choice everywhere."""
        return self.canonical({n: [c[len(c) // 2] for c in d.choices] for n, d in self.dimensions.items()})

    def sample(self, rng: Random, size_bias: float | None = None) -> Subnet:
        """Draw every choice independently: uniformly (OFA), or biased towards a size.

        Args:
            rng: private generator, e.g. ``random.Random(0)``.
            size_bias: in [0, 1]; each choice's index is then Binomial(n - 1, size_bias), so that drawing
                the bias itself uniformly covers the whole cost range. Uniform choices almost never do.
        """
        return self.canonical({n: [_draw(c, rng, size_bias) for c in d.choices] for n, d in self.dimensions.items()})

    def to_json(self) -> str:
        """Return the space as JSON; :meth:`from_json` is its inverse."""
        followers = {name: follow.to_dict() for name, follow in self.followers.items()}
        dimensions = [d.to_dict() for d in self.dimensions.values()]
        return json.dumps({"dimensions": dimensions, "stages": list(self.stages), "followers": followers})

    @classmethod
    def from_json(cls, text: str) -> "SearchSpace":
        """Make a space from the text of :meth:`to_json`.

        Raises:
            WsnError: the text is not of a space.
        """
        try:
            values = json.loads(text)
            followers = {name: Follow.from_dict(follow) for name, follow in values["followers"].items()}
            return cls([Dimension.from_dict(d) for d in values["dimensions"]], values["stages"], followers)
        except (ValueError, KeyError, TypeError) as error:
            raise WsnError(f"This is not the JSON of a search space: {error!r}. Received {text[:80]!r}") from None

    def find(self, spec: Any) -> Subnet:
        """Return the subnet that ``spec`` names, see :func:`wsn.space.specs.find`."""
        return specs.find(self, spec)

    def read(self, path: str | Path) -> Subnet:
        """Read a subnet from a JSON file, see :func:`wsn.space.specs.read`."""
        return specs.read(self, path)

    def only(self, subnet: Subnet) -> "SearchSpace":
        """Return the sub-space whose one member is ``subnet``."""
        return self.restrict(
            **{
                n: [[c[0] if v is None else v] for v, c in zip(self.positions(subnet, n), d.choices)]
                for n, d in self.dimensions.items()
                if n not in self.followers
            }
        )

    # -- asking ------------------------------------------------------------------------------------

    def contains(self, subnet: Subnet) -> bool:
        """Tell whether every choice of ``subnet`` is one of this space's."""
        if set(subnet) != set(self.dimensions):
            return False
        full = {n: self.positions(subnet, n) for n in self.dimensions}
        if any(len(full[n]) != len(d) for n, d in self.dimensions.items()):
            return False
        return (
            all(
                value is None or value in choices
                for n, d in self.dimensions.items()
                for value, choices in zip(full[n], d.choices)
            )
            and self.canonical(full) == subnet
        )

    __contains__ = contains

    def size(self) -> int:
        """Count the different networks exactly (skipped blocks are not counted)."""
        total = 1
        free = [d for d in self.dimensions.values() if d.name not in self.followers]
        counted = "layers" if "layers" in self.dimensions else "depth"  # what says which blocks are kept
        leader = self.followers["layers"].leader if "layers" in self.followers else None
        block_dims = [d for d in free if d.scope == "block" and d.name != "layers"]
        per_block = [math.prod(len(d.choices[i]) for d in block_dims) for i in range(sum(self.stages))]
        for d in free:
            if d.scope != "block" and d.name not in (counted, leader):
                total *= math.prod(len(c) for c in d.choices)
        if leader is not None:
            maps = self.followers["layers"].maps
            choices = self.dimensions[leader].choices[0]
            return total * sum(math.prod(c for c, m in zip(per_block, maps) if m[n]) for n in choices)
        if counted == "layers":
            flags = self.dimensions["layers"].choices
            sets = math.prod(sum(c if kept else 1 for kept in f) for c, f in zip(per_block, flags))
            return total * (sets - all(0 in f for f in flags))
        return total * self._depths(per_block)

    def _depths(self, per_block: Sequence[int]) -> int:
        """Count the ways to choose depths and what the kept blocks choose."""
        total, first = 1, 0
        depth = self.dimensions.get("depth")
        offset = depth.offset if depth else 0
        if depth is not None:
            total = math.prod(len(c) for c in depth.choices[:offset])
        for stage, blocks in enumerate(self.stages):
            depths = depth.choices[offset + stage] if depth is not None else (blocks,)
            total *= sum(math.prod(per_block[first : first + int(kept)]) for kept in depths)
            first += blocks
        return total

    def restrict(self, **choices: Any) -> "SearchSpace":
        """Return the sub-space with fewer choices in some dimensions; its subnets are this space's.

        Raises:
            WsnError: an unknown dimension or choice, or choices of followers that do not go together.
        """
        unknown = [name for name in choices if name not in self.dimensions]
        if unknown:
            raise WsnError(f"Unknown dimension {listed(unknown)}. This space has:\n{self.describe()}")
        dimensions = [d.restrict(choices[n]) if n in choices else d for n, d in self.dimensions.items()]
        few = {d.name: d for d in dimensions}
        for name, follow in self.followers.items():
            few[follow.leader] = follow.narrow(few[follow.leader], few[name])
        return SearchSpace(few.values(), self.stages, self.followers)

    def follow(self, **leaders: str) -> "SearchSpace":
        """Return the sub-space in which dimensions follow others: the i-th choice goes with the leader's i-th.

        Where one has more choices than the other, the ranks are spread evenly: the smallest goes with the smallest, the
        largest with the largest.

        CompOFA's heuristic is ``space.follow(expand="depth")``: deep stages are wide, shallow ones narrow, 3⁵ = 243
        combinations where all of them are 2·10¹⁰ (Sahni et al. 2021, arXiv:2104.12642, §3).

        Args:
            **leaders: dimension → the one that it follows: of the same scope, or depth of the stage or a dimension
                of the whole network.

        Raises:
            WsnError: an unknown dimension, or scopes that cannot follow.

        >>> depth, expand = Dimension("depth", [1, 2], 1, "stage"), Dimension("expand", [3, 6], 2, "block")
        >>> space = SearchSpace([depth, expand], stages=[2]).follow(expand="depth")
        >>> [space.subnet(depth=d).expand for d in (1, 2)]
        [(3, None), (6, 6)]
        >>> space.size()
        2
        """
        names = {*leaders, *leaders.values()}
        unknown = [name for name in names if name not in self.dimensions]
        if unknown:
            raise WsnError(f"Unknown dimension {listed(unknown)}. This space has:\n{self.describe()}")
        chained = sorted(set(leaders.values()) & {*leaders, *self.followers})
        if chained:
            raise WsnError(f"{listed(chained)} cannot lead and follow at once. Received follow={leaders}")
        followers = {n: self._table(self.dimensions[n], self.dimensions[leader]) for n, leader in leaders.items()}
        return SearchSpace(self.dimensions.values(), self.stages, {**self.followers, **followers})

    def encode(self, subnet: Subnet) -> list[int]:
        """Return the one-hot encoding over all (position, choice) pairs; zeros for skipped blocks."""
        code: list[int] = []
        for n, d in self.dimensions.items():
            for value, choices in zip(self.positions(subnet, n), d.choices):
                code.extend(int(value == c) for c in choices)
        return code

    def kept(self, subnet: Subnet) -> Iterator[tuple[int, int, int]]:
        """Yield (stage, index in the stage, index in the network) of the blocks that a subnet keeps."""
        active = self._active({n: self.positions(subnet, n) for n in ("depth", "layers") if n in subnet})
        first = 0
        for stage, blocks in enumerate(self.stages):
            for i in range(blocks):
                if active is None or active[first + i]:
                    yield stage, i, first + i
            first += blocks

    def describe(self) -> str:
        """Return one line per dimension: its name, choices and positions."""
        return "\n".join("  " + d.describe() for d in self.dimensions.values())

    def __repr__(self) -> str:
        return f"SearchSpace of {self.size():.3g} subnets\n{self.describe()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and (self.dimensions, self.stages, self.followers) == (
            other.dimensions,
            other.stages,
            other.followers,
        )

    __hash__ = None  # type: ignore[assignment]

    # -- inside ------------------------------------------------------------------------------------

    def positions(self, subnet: Subnet, name: str) -> Sequence[Any]:
        """Return the values of a dimension at its positions; of skipped blocks None."""
        value = subnet[name]
        return value if isinstance(value, tuple) else (value,)

    def _spread(self, dim: Dimension, value: Any, known: Mapping[str, Sequence[Any]]) -> list[Any]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            return [value] * len(dim)
        values = list(value)
        if dim.name == "layers":
            values = _as_flags(values, len(dim))
        elif dim.scope == "block" and len(values) < len(dim):
            values = self._fill(dim, values, known)
        if len(values) != len(dim):
            raise WsnError(
                f"{dim.name}: expected one value, or a list of {len(dim)} (one per "
                f"{dim.scope}). Received {len(values)} values: {values}"
            )
        return values

    def _fill(self, dim: Dimension, values: list[Any], known: Mapping[str, Sequence[Any]]) -> list[Any]:
        """Return one entry for each block from entries for the kept blocks alone."""
        if "layers" in self.followers:
            follow = self.followers["layers"]
            known = {**known, "layers": follow.values(known[follow.leader])}
        active = self._active({n: v for n, v in known.items() if n in ("depth", "layers")})
        if active is None or len(values) != sum(active):
            return values
        rest = iter(values)
        return [next(rest) if on else choices[-1] for on, choices in zip(active, dim.choices)]

    def _table(self, follower: Dimension, leader: Dimension) -> "Follow":
        if leader.scope == follower.scope:
            last = len(leader) - 1  # a stem, or a head, goes with the stage beside it
            at = [min(max(p - follower.offset + leader.offset, 0), last) for p in range(len(follower))]
        elif leader.scope == "network":
            at = [0] * len(follower)
        elif leader.scope == "stage" and follower.scope == "block":
            at = [leader.offset + stage for stage, blocks in enumerate(self.stages) for _ in range(blocks)]
        else:
            raise WsnError(f"{follower.name}, one for each {follower.scope}, cannot follow {leader.name}")
        maps = tuple(_by_rank(leader.choices[p], choices) for p, choices in zip(at, follower.choices))
        return Follow(leader.name, tuple(at), maps)

    def canonical(self, full: Mapping[str, Sequence[Any]], follow: bool = True) -> Subnet:
        """Return the subnet of a value at every position of every dimension, those of skipped blocks included.

        Args:
            full: dimension → values.
            follow: let followers follow their leaders.
        """
        if follow and self.followers:
            full = {**full, **{name: f.values(full[f.leader]) for name, f in self.followers.items()}}
        if "layers" in full and "layers" not in self.followers and not any(full["layers"]):
            full = {**full, "layers": self._one_layer()}
        active = self._active(full)
        values = {}
        for n, d in self.dimensions.items():
            if d.scope == "network":
                values[n] = full[n][0]
            elif d.scope == "block" and active is not None and n != "layers":
                values[n] = tuple(v if on else None for v, on in zip(full[n], active))
            else:
                values[n] = tuple(full[n])
        try:
            return Subnet(values)
        except TypeError:
            raise WsnError(f"Every value must be a number. Received {values}") from None

    def _active(self, full: Mapping[str, Sequence[Any]]) -> list[bool] | None:
        """Return which blocks are kept; None where all are, or where a depth is not a number (_check reports it)."""
        if "layers" in full:
            return [bool(kept) for kept in full["layers"]]
        depth = full.get("depth")
        offset = self.dimensions["depth"].offset if depth is not None else 0
        if depth is None or len(depth) != offset + len(self.stages):
            return None
        try:
            return [i < depth[offset + s] for s, blocks in enumerate(self.stages) for i in range(blocks)]
        except TypeError:
            return None

    def _one_layer(self) -> list[Choice]:
        """Keep the first layer that may be kept: a network has at least one."""
        flags: list[Choice] = [0] * len(self.dimensions["layers"])
        flags[next(i for i, c in enumerate(self.dimensions["layers"].choices) if 1 in c)] = 1
        return flags

    def _check(self, subnet: Subnet) -> None:
        # Depth first: which positions of a block dimension count depends on it.
        by_scope = sorted(self.dimensions.items(), key=lambda item: item[1].scope == "block")
        kept: set[int] | None = None
        for n, d in by_scope:
            if d.scope == "block" and kept is None:
                kept = {index for _, _, index in self.kept(subnet)}
            for position, (value, choices) in enumerate(zip(self.positions(subnet, n), d.choices)):
                skipped = d.scope == "block" and n != "layers" and kept is not None and position not in kept
                if value in choices or skipped:
                    continue
                at = "" if len(d) == 1 else f" at position {position}"
                raise WsnError(
                    f"{n}: received {value!r}{at}; allowed are {listed(choices)}. This space has:\n{self.describe()}"
                )


def _by_rank(leader: Sequence[Choice], follower: Sequence[Choice]) -> dict[Choice, Choice]:
    last = len(follower) - 1
    return {c: follower[last - (len(leader) - 1 - i) * last // max(len(leader) - 1, 1)] for i, c in enumerate(leader)}


def _draw(choices: tuple[Choice, ...], rng: Random, size_bias: float | None) -> Choice:
    if size_bias is None:
        return rng.choice(choices)
    return choices[sum(rng.random() < size_bias for _ in range(len(choices) - 1))]


def _as_flags(layers: list[Any], count: int) -> list[Any]:
    """Return kept layers as flags, from flags or from ascending indices."""
    if len(layers) == count and all(v in (0, 1) for v in layers):
        return [int(v) for v in layers]
    indices = [v for v in layers if isinstance(v, int) and 0 <= v < count]
    if indices != layers or sorted(set(indices)) != indices:
        raise WsnError(
            f"layers: expected {count} flags (1 kept, 0 skipped), or the ascending indices of the kept layers, "
            f"0 to {count - 1}. Received {layers}"
        )
    return [int(i in indices) for i in range(count)]
