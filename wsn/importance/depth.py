"""Which layers to keep at each depth, by dynamic programming; row by row, so that a stopped search goes on."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Layers = tuple[int, ...]


class Cell(NamedTuple):
    """The best way that was found to remove as many layers: which ones, last first, and how good the rest is."""

    removed: Layers
    value: float | None


Row = list[Cell | None]
"""Cell m is of m removed layers; None: so many cannot be removed yet."""


def depth_rows(
    count: int,
    most: int,
    measure: Callable[[Sequence[Layers]], Sequence[float]],
    larger_is_better: bool = False,
    keep_last: int = 1,
    rows: Iterable[Row] = (),
    on_row: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Choose which of a network's layers to remove, for every number of them up to ``most``.

    Layers are visited from the last to the first. Of the first n visited, the best way to remove m of them is the best
    one without the n-th, or the best one to remove m − 1 of those before and the n-th, whichever network is better as a
    whole. Where each layer's removal costs something of its own this is the optimum; else it is a heuristic that
    measures about count · most networks instead of all sets. The sets of different m need not be nested.

    Args:
        count: number of layers.
        most: most layers to remove, less than count − keep_last + 1.
        measure: sets of removed layers → the quality of the network without each; one call for each row.
        larger_is_better: accuracy, not perplexity.
        keep_last: number of last layers that are always kept.
        rows: rows of a search that was stopped, to go on from.
        on_row: called with all rows after each.

    Returns:
        the rows, first the one without a visited layer; cell m of the last is the choice for m removed layers.

    Source: AmoebaLLM, Fu et al. 2024, arXiv:2411.10606, §3.2; released code ``main.py`` (``layer_calib_dp``): keep_last
    is its ``dp_keep_last_layer``, ties keep the set that was there.
    """
    sign = 1 if larger_is_better else -1
    rows = list(rows) or [[Cell((), None), *[None] * most]]
    for n in range(len(rows), count - keep_last + 1):
        before, row = rows[-1], list(rows[-1])
        candidates: dict[int, Layers] = {}
        for m in range(1, min(n, most) + 1):
            fewer = before[m - 1]
            assert fewer is not None  # m - 1 layers can be removed of n - 1
            candidates[m] = (*fewer.removed, count - keep_last - n)
        for (m, removed), value in zip(candidates.items(), measure(list(candidates.values())), strict=True):
            known, value = before[m], -sign * math.inf if math.isnan(value) else value
            if known is None or known.value is None or sign * value > sign * known.value:
                row[m] = Cell(removed, value)
        rows.append(row)
        on_row(rows)
    return rows


def kept_layers(count: int, row: Row) -> dict[int, list[int]]:
    """Return depth → kept layers, the deepest first, of the last row.

    >>> kept_layers(3, [Cell((), None), Cell((1,), 2.0)])
    {3: [0, 1, 2], 2: [0, 2]}
    """
    return {
        count - m: [i for i in range(count) if i not in cell.removed] for m, cell in enumerate(row) if cell is not None
    }
