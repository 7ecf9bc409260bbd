"""Compare runs: tables and a picture of methods over seeds."""

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wsn.errors import WsnError
from wsn.logging.plots import plot_comparison
from wsn.logging.results import read_results
from wsn.pareto import Front, read_csv, write_csv
from wsn.quality import quality_of

Row = dict[str, Any]
NAMED = ("smallest", "middle", "largest")


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the finished runs in these folders, at any depth.

    Raises:
        WsnError: a folder that does not exist, or no finished run.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            raise WsnError(f"The folder {path} does not exist. Pass run folders or a sweep's, outputs/...")
        found += [c.parent for c in sorted(path.rglob("config.yaml")) if (c.parent / "subnets.csv").exists()]
    finished = [run for run in found if any(r["split"] == "test" for r in read_results(run))]
    if not finished:
        raise WsnError(f"No finished run in {', '.join(map(str, paths))}; a finished one has test rows in subnets.csv")
    return finished


def summarise(run: Path) -> Row:
    """Return what one run comes to: label, seed, hypervolume, quality of subnets, compute and time."""
    cfg: Any = OmegaConf.load(run / "config.yaml")
    rows = [r for r in read_results(run) if r["split"] == "test"]
    metrics = read_csv(run / "metrics.csv")
    quality = quality_of(rows)
    front = Front(rows, quality.objectives)
    named = {r["kind"]: quality.shown(r) for r in rows if r["kind"] != "random"}
    hypervolumes = [r["pareto/hypervolume"] for r in metrics if r.get("pareto/hypervolume") is not None]
    seconds = (run / "checkpoints" / "last.ckpt").stat().st_mtime - (run / "config.yaml").stat().st_mtime
    return {
        "run": str(run),
        "label": "+".join([cfg.method.name, *cfg.tags]),
        "seed": cfg.seed,
        "hypervolume": 100 * hypervolumes[-1],
        "front": statistics.fmean(quality.shown(r) for r in front),
        **{name: named.get(name) for name in NAMED},
        "gmacs": max(r["train/gmacs_spent"] for r in metrics if r.get("train/gmacs_spent") is not None),
        "minutes": seconds / 60,
        "rows": rows,
    }


def compare(paths: Sequence[str | Path], out: str | Path) -> str:
    """Write ``comparison.csv`` (a row per run), ``comparison.md`` (a row per method) and ``comparison.png``.

    Methods are told apart by their name and tags. Runs of ``method=plain`` are the stand-alone results that the
    gaps are measured to.

    Args:
        paths: run folders, or folders of them.
        out: folder of the results.

    Returns:
        the Markdown table.
    """
    runs = [summarise(run) for run in find_runs(paths)]
    qualities = {quality_of(run["rows"]).name for run in runs}
    if len(qualities) > 1:
        raise WsnError(
            f"These runs are of different tasks, measured by {' and '.join(sorted(qualities))}; compare them apart"
        )
    alone = _alone([r for r in runs if r["label"].startswith("plain")])
    groups: dict[str, list[Row]] = {}
    for run in runs:
        if not run["label"].startswith("plain"):
            groups.setdefault(run["label"], []).append(run)
    if not groups:
        raise WsnError("Only runs of method=plain: there is no front to compare. Add runs of other methods")
    table = _markdown(groups, alone)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "comparison.csv", [{k: v for k, v in run.items() if k != "rows"} for run in runs])
    (out / "comparison.md").write_text(table)
    series = {label: _mean_points([r for run in group for r in run["rows"]]) for label, group in groups.items()}
    points = [(macs, value, spread) for macs, value, spread, _ in alone.values()]
    plot_comparison(
        {**series, **({"trained alone": sorted(points)} if points else {})},
        out / "comparison.png",
        quality_of(runs[0]["rows"]),
    )
    return table


def _alone(runs: Sequence[Row]) -> dict[str, tuple[float, float, float, int]]:
    """Return subnet id → MACs (M), mean and deviation of quality, and number of seeds."""
    by_id: dict[str, list[Row]] = {}
    for run in runs:
        for r in run["rows"]:
            by_id.setdefault(r["id"], []).append(r)
    return {id_: (*_mean_points(rows)[0], len(rows)) for id_, rows in by_id.items()}


def _mean_points(rows: Sequence[Row]) -> list[tuple[float, float, float]]:
    """Return MACs (M), mean and standard deviation of quality of each subnet, ascending in MACs."""
    by_id: dict[str, list[Row]] = {}
    for r in rows:
        by_id.setdefault(r["id"], []).append(r)
    quality = quality_of(rows)
    values = {id_: [quality.shown(r) for r in group] for id_, group in by_id.items()}
    return sorted((by_id[i][0]["macs"] / 1e6, statistics.fmean(v), _deviation(v)) for i, v in values.items())


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _spread(values: Sequence[float | None], digits: int = 1) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return f"{mean} ± {_deviation(known):.{digits}f}" if len(known) > 1 else mean


def _markdown(groups: dict[str, list[Row]], alone: dict[str, tuple[float, float, float, int]]) -> str:
    head = ["method", "seeds", "hypervolume", "smallest", "middle", "largest", "front mean"]
    head += [f"gap of {name} to alone" for name in NAMED] if alone else []
    head += ["GMACs spent", "minutes"]
    ranked = sorted(groups.items(), key=lambda item: -statistics.fmean(r["hypervolume"] for r in item[1]))
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for label, group in ranked:
        cells = [f"`{label}`", str(len(group)), _spread([r["hypervolume"] for r in group], 2)]
        cells += [_spread([r[name] for r in group]) for name in NAMED]
        cells.append(_spread([r["front"] for r in group]))
        if alone:
            cells += [_gap(group, name, alone) for name in NAMED]
        cells += [f"{statistics.fmean(r['gmacs'] for r in group):.0f}"]
        cells += [f"{statistics.fmean(r['minutes'] for r in group):.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    for id_, (macs, mean, deviation, seeds) in sorted(alone.items(), key=lambda item: item[1][0]):
        lines.append(f"\nTrained alone: {id_} ({macs:.2f} M MACs) {mean:.1f} ± {deviation:.1f}, {seeds} seeds.")
    return "\n".join(lines) + "\n"


def _gap(group: Sequence[Row], name: str, alone: dict[str, tuple[float, float, float, int]]) -> str:
    gaps = [
        quality_of([r]).shown(r) - alone[r["id"]][1]
        for run in group
        for r in run["rows"]
        if r["kind"] == name and r["id"] in alone
    ]
    return f"{statistics.fmean(gaps):+.1f}" if gaps else "–"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see ``python compare.py --help``."""
    parser = argparse.ArgumentParser(prog="compare.py", description="Compare runs by method, over seeds")
    parser.add_argument("runs", nargs="+", help="run folders, or folders of them")
    parser.add_argument("--out", help="where to write; by default the first folder")
    args = parser.parse_args(argv)
    try:
        print(compare(args.runs, args.out or args.runs[0]))
    except WsnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Written: {Path(args.out or args.runs[0]) / 'comparison.png'}, .md and .csv")
    return 0
