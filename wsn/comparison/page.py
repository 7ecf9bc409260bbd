"""The comparison as one self-contained HTML page: interactive plots by plotly.js, no server and no network."""

import json
import re
import shlex
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from wsn.comparison.choices import encode, histograms
from wsn.comparison.runs import Run
from wsn.comparison.statistics import mean_front
from wsn.comparison.summary import NAMED, Comparison
from wsn.comparison.tables import (
    Cell,
    Table,
    break_even_table,
    config_table,
    correlation_table,
    gap_table,
    pair_table,
    per_method,
    run_table,
    verdict,
    volume_text,
)
from wsn.files import write_atomically
from wsn.logging.plots import MARKERS, PALETTE

AXES = {
    "macs": ("MACs", "multiply-adds (millions)", "M", 1e6),
    "params": ("params", "parameters (millions)", "M", 1e6),
    "latency_ms": ("latency", "latency (ms)", "ms", 1),
}
# What Hydra's grammar reads as text without quotes: not a number, nor a word that it knows.
PLAIN_WORD = re.compile(r"(?!(?:null|true|false|nan|inf)$)(?![\d_.]+(?:e[+-]?\d+)?$)[\w./+@%:-]+", re.ASCII | re.I)
WIDE = 24
"""Methods beyond which the matrix of pairs is left out."""


def write_page(c: Comparison, path: Path) -> None:
    """Write the page.

    Args:
        c: the comparison.
        path: of the HTML file.
    """
    from plotly.offline import get_plotlyjs

    assets = resources.files("wsn.comparison") / "assets"
    parts = {name: (assets / name).read_text("utf-8") for name in ("report.html", "report.css")}
    scripts = "\n".join((assets / name).read_text("utf-8") for name in ("state.js", "plots.js", "page.js"))
    data = json.dumps(page_data(c), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    text = Template(parts["report.html"]).substitute(
        title=escape(_title(c)), about=escape(_about(c)), notes=_notes(c), css=parts["report.css"], data=data,
        plotly=get_plotlyjs(), scripts=scripts, volume=escape(volume_text(c)), **_tables(c),
    )  # fmt: skip
    write_atomically(path, text)


def export_argument(folder: str) -> str:
    """Return ``run=<folder>`` as a shell passes it to ``wsn export``, quoted for Hydra's grammar and for the shell.

    >>> export_argument("outputs/sweeps/a/ofa_0")
    'run=outputs/sweeps/a/ofa_0'
    """
    value = folder if PLAIN_WORD.fullmatch(folder) else "'" + folder.replace("'", "\\'") + "'"
    return shlex.quote(f"run={value}")


def page_data(c: Comparison) -> dict[str, Any]:
    """Return what the page's script draws: columns, not records, so that 100,000 subnets are a few MB."""
    labels = list(c.groups)
    runs = [run for label in labels for run in c.groups[label]]
    pool = _Pool()
    of_runs = [_run_data(c, run, labels, pool) for run in runs]
    alone = [pool.place(id_, macs, a.params, a.arch) for (id_, macs), a in c.alone.items()]
    means = {axis: [_mean_data(c, c.groups[label], axis) for label in labels] for axis in c.axes}
    fronts = {label: [r.subnets["arch"][i] for r in c.groups[label] for i in c.front(r)] for label in labels}
    volumes = [v for label in labels for v in c.hypervolumes[label]]
    return {
        "quality": {"label": _label(c), "unit": c.quality.unit, "digits": c.quality.digits + 1},
        "axes": {axis: AXES[axis] for axis in c.axes},
        "methods": labels,
        "palette": PALETTE,
        "symbols": len(MARKERS),
        "runs": [{**data, "hv": round(v, 4)} for data, v in zip(of_runs, volumes)],
        "subnets": pool.columns(),
        "means": means,
        "alone": {
            "s": alone,
            "q": [round(a.mean, 4) for a in c.alone.values()],
            "sd": [round(a.deviation or 0, 4) for a in c.alone.values()],
            "n": [len(a.values) for a in c.alone.values()],
        },
        "scatter": [_scatter_data(c, label) for label in labels],
        "histograms": histograms(fronts, _uniform(runs)),
    }


class _Pool:
    """Every network once: its id, costs and choices; runs refer to it by its place."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int, int], int] = {}
        self.archs: list[str] = []

    def place(self, id_: str, macs: int, params: int, arch: str) -> int:
        at = self.places.setdefault((id_, macs, params), len(self.places))
        if at == len(self.archs):
            self.archs.append(arch)
        return at

    def columns(self) -> dict[str, Any]:
        ids, macs, params = map(list, zip(*self.places))
        return {"id": ids, "macs": macs, "params": params, **encode(self.archs)}


def _run_data(c: Comparison, run: Run, labels: Sequence[str], pool: _Pool) -> dict[str, Any]:
    s = run.subnets
    latency = s["latency_ms"] if any(v is not None for v in s["latency_ms"]) else None
    return {
        "run": run.folder,
        "argument": export_argument(run.folder),
        "m": labels.index(run.label),
        "seed": run.seed,
        "gmacs": run.gmacs,
        "minutes": run.minutes,
        "s": [pool.place(*values) for values in zip(s["id"], s["macs"], s["params"], s["arch"])],
        "q": [round(q, 4) for q in s["quality"]],
        "latency": latency,
        "kinds": {i: kind for i, kind in enumerate(s["kind"]) if kind not in ("random", "search", "")},
        "fronts": {axis: c.front(run, axis) for axis in c.axes},
    }


def _mean_data(c: Comparison, group: Sequence[Run], axis: str) -> list[list[float]] | None:
    """Return budgets, means and deviations of the mean front; None where no run knows the cost."""
    fronts = []
    for run in group:
        members = c.front(run, axis)
        if members:
            fronts.append(([run.subnets[axis][i] for i in members], [run.subnets["quality"][i] for i in members]))
    if not fronts:
        return None
    return [[round(v, 5) for v in column] for column in mean_front(fronts)]


def _scatter_data(c: Comparison, label: str) -> list[list[float]]:
    """Return the places in ``alone`` of the subnets that a method has too, and its mean quality there."""
    own = c.mean_qualities(label)
    found = [(i, own[key]) for i, key in enumerate(c.alone) if key in own]
    return [[i for i, _ in found], [round(q, 4) for _, q in found]]


def _uniform(runs: Sequence[Run]) -> dict[str, Sequence[Any]]:
    """Return the dimensions whose positions all have the same choices, in every run's config alike."""
    found: dict[str, Sequence[Any]] = {}
    for key, value in runs[0].config.items():
        group, _, name = key.partition(".")
        same = all(run.config.get(key) == value for run in runs)
        if group == "backbone" and isinstance(value, list) and name != "layers" and same:
            found[name] = sorted(set(value))
    return found


def _label(c: Comparison) -> str:
    """Return the quality as axes name it; that much is good goes without saying."""
    return c.quality.label if c.quality.direction == "max" else f"{c.quality.label} (less is better)"


def _title(c: Comparison) -> str:
    return f"{len(c.groups)} method{'s' if len(c.groups) > 1 else ''} compared"


def _about(c: Comparison) -> str:
    """Return one line: runs, seeds, data, backbones, measure."""
    runs = [run for group in c.groups.values() for run in group]
    seeds = sorted({len(group) for group in c.groups.values()})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}"
    alone = f"{len(c.plain)} stand-alone runs" if c.plain else ""
    names = [", ".join(sorted({str(n) for n in column if n})) for column in
             ([r.data for r in runs], [r.backbone for r in runs])]  # fmt: skip
    counted = f"{sum(map(len, runs)):,} evaluated subnets"
    parts = [
        f"{len(runs)} run{'s' * (len(runs) > 1)}",
        f"{each} per method",
        alone,
        counted,
        *names,
        f"test {c.quality.label}",
    ]
    return " · ".join(part for part in parts if part)


def _notes(c: Comparison) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in c.notes)
    left = "".join(f"<li>{escape(folder)}: {escape(reason)}</li>" for folder, reason in c.skipped.items())
    if left:
        items += f"<li>{len(c.skipped)} left out<ul>{left}</ul></li>"
    if not items:
        return ""
    return f'<details class="notes" open><summary>Before you read on</summary><ul>{items}</ul></details>'


def _tables(c: Comparison) -> dict[str, str]:
    """Return the page's tables as HTML, by the names that the template has for them."""
    titles = ("method", "seeds", "hypervolume", "median", "mean rank", "p", "δ", *NAMED, "front mean", "subnets",
              "GMACs spent", "minutes")  # fmt: skip
    many = f"<p>Left out: more than {WIDE} methods.</p>"
    return {
        "per_method": table_html(per_method(c, titles), "methods"),
        "verdict": " ".join(map(escape, verdict(c))),
        "pairs": table_html(pair_table(c), "pairs") if len(c.groups) <= WIDE else many,
        "gaps": table_html(gap_table(c), "gap") if c.alone else "",
        "break_even": table_html(break_even_table(c), "break-even") if c.alone else "",
        "correlations": table_html(correlation_table(c), "tau") if c.alone else "",
        "runs": table_html(run_table(c), "runs"),
        "config": table_html(config_table(c), "config"),
        "no_alone": "" if c.alone else "<p>No run here trained a subnet alone (method=plain).</p>",
        "body": "" if c.alone else "no-alone",
    }


def table_html(table: Table, name: str) -> str:
    """Return a table; its heads are buttons that sort it."""
    kinds = ["number" if any(isinstance(cell.value, float | int) for cell in column) else "" for column in
             zip(*table.rows)] or [""] * len(table.heads)  # fmt: skip
    heads = "".join(
        f'<th scope="col" class="{kind}" title="{escape(note)}"><button type="button">{escape(title)}</button></th>'
        for kind, (title, note) in zip(kinds, table.heads)
    )
    methods = table.methods or [""] * len(table.rows)
    body = "".join(
        f'<tr data-method="{escape(label)}">{"".join(map(_cell, row, kinds))}</tr>'
        for label, row in zip(methods, table.rows)
    )
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<div class="scroll"><table id="table-{name}">{head}<tbody>{body}</tbody></table></div>'


def _cell(cell: Cell, kind: str) -> str:
    value = f' data-value="{escape(str(cell.value))}"' if cell.value is not None else ""
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    names = " ".join(filter(None, (kind, cell.tone)))
    names = f' class="{names}"' if names else ""
    return f"<td{value}{title}{names}>{escape(cell.text)}</td>"
