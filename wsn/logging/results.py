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
    table = Table(title=f"Subnets on the {rows[0]['split']} split" if rows else None, box=box.SIMPLE_HEAD)
    table.add_column("subnet", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    quality = quality_of(rows)
    columns = quality.columns
    known = {(r["id"], r["macs"]) for r in rows} & (alone or {}).keys()
    for column in ("MACs (M)", "params (M)", *(title for title, *_ in columns), *(["alone"] if known else [])):
        table.add_column(column, justify="right")
    table.add_column("front", justify="center")
    for r in sorted(rows, key=lambda r: r["macs"]):
        own = (alone or {}).get((r["id"], r["macs"]))
        shown = "" if own is None else f"{quality.scale * own:.{quality.digits + 1}f}"
        table.add_row(
            r["id"],
            r["kind"],
            f"{r['macs'] / 1e6:.2f}",
            f"{r['params'] / 1e6:.3f}",
            *(f"{scale * r[key]:.{digits}f}" for _, key, scale, digits in columns),
            *([shown] if known else []),
            "★" if r.get("on_front") else "",
        )
    (console or Console()).print(table)
