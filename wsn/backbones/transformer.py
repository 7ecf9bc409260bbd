"""Shared by the transformer backbones: which layers a depth keeps, and choices as shares of the largest."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from wsn.errors import WsnError
from wsn.space import Dimension, Follow, SearchSpace

RULES = ("first", "spread")


def transformer_space(
    dimensions: Sequence[Dimension], count: int, depth: Any = None, layers: Any = None, keep: Any = "first"
) -> SearchSpace:
    """Make the space of a transformer of equal layers.

    Args:
        dimensions: all but depth and layers.
        count: number of layers of the largest.
        depth: choices of the number of kept layers; None leaves it to ``layers``.
        layers: choices (1 kept, 0 skipped) for all layers or one list for each; without depth and layers any set of
            layers can be kept.
        keep: which layers a depth keeps: ``first``, ``spread`` (evenly, first and last among them), or a mapping of
            depth → indices, as a search for the best layers finds it.

    Raises:
        WsnError: both depth and layers, an unknown rule, or a table that lacks a depth.
    """
    if depth is not None and layers is not None:
        raise WsnError("Give either depth (how many layers are kept) or layers (which); set backbone.layers=null")
    if depth is None:
        kept = Dimension("layers", [0, 1] if layers is None else layers, count, "block")
        return SearchSpace([kept, *dimensions], [count])
    depths = Dimension("depth", depth)
    bad = [d for d in depths.choices[0] if not 1 <= d <= count]
    if bad:
        raise WsnError(f"depth: this network has {count} layers. Received {bad[0]}; set e.g. backbone.depth=[{count}]")
    if keep == "first":
        return SearchSpace([depths, *dimensions], [count])
    layer_dimension, follow = _following("layers", depths, {n: _flags(n, count, keep) for n in depths.choices[0]})
    return SearchSpace([depths, layer_dimension, *dimensions], [count], {"layers": follow})


def shape_space(
    space: SearchSpace, keep: Mapping[int, Sequence[int]], width: Sequence[float], units: Mapping[str, int]
) -> SearchSpace:
    """Return the shapes of a transformer: a number of layers, and one width for all of them.

    Args:
        space: of the transformer, whose largest subnet is the largest shape.
        keep: depth → indices of its layers, see :mod:`wsn.importance.depth`.
        width: shares of the largest width, the last of them 1.
        units: block dimensions that follow the width → what their choices are multiples of.

    Returns:
        a space of the dimensions ``depth``, which ``layers`` follow, and ``width``, which those of ``units`` follow;
        all others have their largest choice.

    >>> plain = transformer_space([Dimension("ffn", [64], 3, "block")], count=3)
    >>> shapes = shape_space(plain, {3: [0, 1, 2], 2: [0, 2]}, [0.5, 1.0], {"ffn": 8})
    >>> shapes.size(), shapes.min()
    (4, Subnet(depth=2, width=0.5, layers=[1, 0, 1], ffn=[32, None, 32]))
    """
    count = sum(space.stages)
    depths, widths = Dimension("depth", list(keep)), Dimension("width", width)
    if widths.choices[0][-1] != 1:
        raise WsnError(f"width: the largest share must be 1. Received {list(width)}; end the shares with it")
    fixed = [d.restrict("top1") for n, d in space.dimensions.items() if n not in ("depth", "layers", *units)]
    pairs = {"layers": _following("layers", depths, {n: _flags(n, count, keep) for n in depths.choices[0]})}
    for name, unit in units.items():
        full = [choices[-1] for choices in space.dimensions[name].choices]
        sizes = {w: [max(unit, round(w * f / unit) * unit) for f in full] for w in widths.choices[0]}
        pairs[name] = _following(name, widths, sizes)
    dimensions, followers = [d for d, _ in pairs.values()], {n: f for n, (_, f) in pairs.items()}
    return SearchSpace([depths, widths, *dimensions, *fixed], space.stages, followers)


def _following(name: str, leader: Dimension, values: Mapping[Any, Sequence[Any]]) -> tuple[Dimension, Follow]:
    """Return a block dimension whose value at each position is a table's, by the leader's choice."""
    positions = list(zip(*values.values()))
    maps = tuple(dict(zip(values, at)) for at in positions)
    dimension = Dimension(name, [sorted(set(at)) for at in positions], len(positions), "block")
    return dimension, Follow(leader.name, (0,) * len(positions), maps)


def _flags(depth: Any, count: int, keep: Any) -> list[int]:
    depth = int(depth)
    if keep == "spread":
        indices = [round(i * (count - 1) / max(depth - 1, 1)) for i in range(depth)]
    elif isinstance(keep, Mapping):
        indices = [int(i) for i in keep.get(depth, keep.get(str(depth), ()))]
    else:
        raise WsnError(f"keep must be one of {', '.join(RULES)}, or a table depth → layers. Received {keep!r}")
    if len(set(indices)) != depth or not set(indices) <= set(range(count)):
        raise WsnError(f"keep: depth {depth} needs {depth} different layers of 0 to {count - 1}. Received {indices}")
    return [int(i in indices) for i in range(count)]


def shares(largest: int, fractions: Sequence[float], multiple: int = 1) -> list[int]:
    """Return these fractions of ``largest``, as multiples of a unit, without repetition.

    >>> shares(192, (0.5, 0.75, 1.0), 64)
    [64, 128, 192]
    """
    return sorted({max(multiple, int(largest * f) // multiple * multiple) for f in fractions})


def renumber(blocks: nn.Module) -> nn.Module:
    """Number the kept blocks of a container from 0, in place: the keys of a plain network."""
    kept = [child for child in blocks._modules.values() if child is not None]
    blocks._modules.clear()
    blocks._modules.update({str(i): child for i, child in enumerate(kept)})
    return blocks
