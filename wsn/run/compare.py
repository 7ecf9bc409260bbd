"""Comparing runs by method, over seeds: ``wsn compare runs=outputs/sweeps/...``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from wsn.comparison.files import markdown, run_rows, subnet_rows
from wsn.comparison.page import write_page
from wsn.comparison.runs import find_runs
from wsn.comparison.statistics import mean_front
from wsn.comparison.summary import Comparison
from wsn.files import place_for, write_atomically, write_csv
from wsn.logging.plots import plot_comparison


def compare(paths: Sequence[str | Path], out: str | Path) -> str:
    """Compare runs by method and write the results.

    ``report.html`` is one page with everything; ``comparison.md`` has a row per method, ``comparison.csv`` one per run,
    ``comparison_subnets.csv`` one per subnet; ``comparison.png`` shows the mean fronts. Methods are told apart by their
    name and tags. Runs of ``method=plain`` are the stand-alone results that the gaps are measured to.

    Args:
        paths: run folders, or folders of them; what is not finished in them is left out, with a line on stderr.
        out: folder of the results.

    Returns:
        the Markdown table.
    """
    runs, skipped = find_runs(paths)
    out = place_for(Path(out) / "report.html", "out").parent
    comparison = Comparison(runs, skipped)
    for folder, reason in skipped.items():
        print(f"left out: {folder}: {reason}", file=sys.stderr)
    table = markdown(comparison)
    write_atomically(out / "comparison.md", table)
    write_csv(out / "comparison.csv", run_rows(comparison))
    write_csv(out / "comparison_subnets.csv", subnet_rows(comparison))
    draw(comparison, out / "comparison.png")
    write_page(comparison, out / "report.html")
    return table


def draw(c: Comparison, path: Path) -> None:
    """Draw the mean fronts and the subnets that were trained alone."""
    series = {}
    for label, group in c.groups.items():
        fronts = [(c.front(run), run.subnets) for run in group]
        steps = (([s["macs"][i] for i in front], [s["quality"][i] for i in front]) for front, s in fronts)
        budgets, means, deviations = mean_front(steps)
        series[label] = [(macs / 1e6, mean, spread) for macs, mean, spread in zip(budgets, means, deviations)]
    alone = [(a.macs / 1e6, a.mean, a.deviation or 0.0) for a in c.alone.values()]
    plot_comparison(series, alone, c.largest / 1e6, path, c.quality)


def compare_runs(runs: Sequence[str], out: str | None = None) -> None:
    """Compare runs and print the table; see :func:`compare`.

    Args:
        runs: run folders, or folders of them.
        out: folder of the results; None: the first of the runs.
    """
    folder = Path(out or runs[0])
    print(compare(runs, folder))
    print(
        f"Written: {folder / 'report.html'}, comparison.md, comparison.png, comparison.csv and comparison_subnets.csv"
    )
