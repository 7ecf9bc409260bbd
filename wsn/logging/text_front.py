"""A front as text, for the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from wsn.evaluation.quality import quality_of
from wsn.logging.plots import MACS, Axis

WIDTH, HEIGHT = 56, 9  # of the plot, in characters


def text_front(rows: Sequence[Mapping[str, Any]], title: str, axis: Axis = MACS) -> Text:
    """Draw quality against a cost in characters: ● on the front, · dominated, the initials of named subnets.

    Args:
        rows: evaluated subnets, with ``on_front``.
        title: the first line.
        axis: the cost; over a wide range it is logarithmic.

    Returns:
        lines of :data:`HEIGHT` characters and the axes' ends.
    """
    quality = quality_of(rows)
    costs, values = [axis.scale * r[axis.key] for r in rows], [quality.shown(r) for r in rows]
    wide = max(costs) > 4 * min(costs)
    xs = _cells([math.log(c) if wide else c for c in costs], WIDTH)
    ys = _cells(values, HEIGHT)
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for x, y, r in sorted(zip(xs, ys, rows), key=lambda point: (_named(point[2]), bool(point[2].get("on_front")))):
        mark = r["kind"][0].upper() if _named(r) else "●" if r.get("on_front") else "·"
        cells[x, y] = mark, "bold blue" if r.get("on_front") else "dim"
    text = Text(title + "\n", style="default")
    for y in reversed(range(HEIGHT)):
        end = f"{max(values):.1f}" if y == HEIGHT - 1 else f"{min(values):.1f}" if y == 0 else ""
        text.append(f"{end:>7} │", style="dim")
        for x in range(WIDTH):
            text.append(*cells.get((x, y), (" ", "default")))
        text.append("\n")
    text.append(" " * 8 + "└" + "─" * WIDTH + "\n", style="dim")
    low, high = f"{min(costs):.3g}", f"{max(costs):.3g}"
    text.append(" " * 9 + low + axis.label.center(WIDTH - len(low) - len(high)) + high, style="dim")
    return text


def _named(row: Mapping[str, Any]) -> bool:
    return row["kind"] not in ("random", "search")


def _cells(values: Sequence[float], count: int) -> list[int]:
    low, high = min(values), max(values)
    return [round((v - low) / (high - low) * (count - 1)) if high > low else 0 for v in values]
