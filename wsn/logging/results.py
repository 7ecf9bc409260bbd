"""The results of a run: subnets.csv, front.json, front.png, and a table for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of
from wsn.files import read_subnets, replacing, write_csv
from wsn.logging.plots import plot_front

Row = dict[str, Any]


def write_results(
    folder: str | Path, rows: Sequence[Row], objectives: Mapping[str, str] | None = None, title: str = ""
) -> Front:
    """Write all rows, and the front of the last evaluation; sets ``on_front`` in every row.

    Args:
        folder: the run folder.
        rows: every evaluated subnet of the run; those of one evaluation share split and step.
        objectives: of the front; by default MACs and the quality of the rows' task.
        title: of the picture; by default the last evaluation's split and phase.

    Returns:
        the front of the last evaluation.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    last = rows[-1]
    final = [r for r in rows if (r["split"], r["step"]) == (last["split"], last["step"])]
    quality = quality_of(final)
    front = Front(final, objectives or quality.objectives)
    for r in rows:
        r["on_front"] = False
    for r in front:
        r["on_front"] = True
    write_csv(folder / "subnets.csv", rows)
    front.to_json(folder / "front.json")
    title = title or f"{last['split']} {quality.name} after phase {last['phase']!r}"
    with replacing(folder / "front.png") as picture:
        plot_front(final, front.rows, picture, title)
    return front


def read_results(folder: str | Path) -> list[Row]:
    """Read the rows of subnets.csv back, with their types."""
    return read_subnets(Path(folder) / "subnets.csv")


def print_results(
    rows: Sequence[Row], console: Console | None = None, alone: Mapping[tuple[str, int], float] | None = None
) -> None:
    """Print one line per subnet, ascending in MACs; a star marks the front.

    Args:
        rows: of one evaluation.
        console: where to; by default the standard output.
        alone: (id, MACs) → quality of the same subnet trained alone; a column shows it where any is known.
    """
    quality = quality_of(rows)
    known = {(r["id"], r["macs"]) for r in rows} & (alone or {}).keys()
    ordered = sorted(rows, key=lambda r: r["macs"])
    columns = {
        "subnet": [r["id"] for r in ordered],
        "kind": [r["kind"] for r in ordered],
        "MACs (M)": [f"{r['macs'] / 1e6:.2f}" for r in ordered],
        "params (M)": [f"{r['params'] / 1e6:.3f}" for r in ordered],
        **{title: [f"{scale * r[key]:.{digits}f}" for r in ordered] for title, key, scale, digits in quality.columns},
    }
    if known:
        own = [(alone or {}).get((r["id"], r["macs"])) for r in ordered]
        columns["alone"] = ["" if v is None else f"{quality.scale * v:.{quality.digits + 1}f}" for v in own]
    columns["front"] = ["★" if r.get("on_front") else "" for r in ordered]
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, title=f"Subnets on the {rows[0]['split']} split" if rows else None)
    for title, cells in _fitting(columns, [title for title, *_ in quality.columns[1:]], console.width).items():
        justify: Any = {"subnet": "left", "kind": "left", "front": "center"}.get(title, "right")
        table.add_column(title, justify=justify, min_width=_width(title, cells), overflow="fold")
    for line in zip(*(columns[c.header] for c in table.columns if isinstance(c.header, str))):
        table.add_row(*line)
    console.print(table)


def _width(title: str, cells: Sequence[str]) -> int:
    """Return the characters that a column needs: a title may be on several lines, a value not."""
    return max(map(len, [*title.split(), *cells]))


def _fitting(columns: Mapping[str, list[str]], least: Sequence[str], width: int) -> dict[str, list[str]]:
    """Return the columns that a terminal has room for: whole numbers in fewer columns, not parts of all."""
    kept = dict(columns)
    for title in (*reversed(least), "params (M)", "kind", "alone"):
        if sum(_width(*column) + 3 for column in kept.items()) + 3 <= width:
            break
        kept.pop(title, None)
    return kept
