"""What a comparison writes for papers (Markdown) and for other programs (CSV)."""

from typing import Any

from wsn.comparison.runs import COLUMNS
from wsn.comparison.summary import NAMED, Comparison
from wsn.comparison.tables import front_mean, named, per_method, spread, verdict, volume_text

Row = dict[str, Any]


def markdown(c: Comparison) -> str:
    """Return the table for papers, the tests, and the subnets that were trained alone."""
    table = per_method(c, without=("median", "mean rank", "p", "δ", "subnets"))
    lines = ["| " + " | ".join(title for title, _ in table.heads) + " |", "|---" * len(table.heads) + "|"]
    for first, *rest in table.rows:
        cells = [f"`{first.text}`", *(cell.text for cell in rest)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"\nHypervolume: {volume_text(c)}")
    lines.append(" ".join(verdict(c)))
    for key, alone in c.alone.items():
        name = " ".join(dict.fromkeys([c.names.get(key, key[0]), key[0]]))
        own = spread(alone.values, c.quality.digits).text
        lines.append(f"\nTrained alone: {name} ({key[1] / 1e6:.2f} M MACs) {own}, {len(alone.values)} seeds.")
    return "\n".join(lines) + "\n"


def run_rows(c: Comparison) -> list[Row]:
    """Return a row per run for comparison.csv, stand-alone runs included."""
    volumes = {id(r): v for label, group in c.groups.items() for r, v in zip(group, c.hypervolumes[label])}
    return [
        {
            "run": run.folder,
            "label": run.label,
            "seed": run.seed,
            "hypervolume": volumes.get(id(run)),
            "front": front_mean(c, run),
            **{kind: named(run, kind) for kind in NAMED},
            "subnets": len(run),
            "gmacs": run.gmacs,
            "minutes": run.minutes,
        }
        for run in c.runs
    ]


def subnet_rows(c: Comparison) -> list[Row]:
    """Return a row per subnet of every run for comparison_subnets.csv; quality as tables show it."""
    rows = []
    quality = c.quality.name.replace(" ", "_")
    for run in c.runs:
        front = set(c.front(run))
        same = {"run": run.folder, "label": run.label, "seed": run.seed}
        for i, values in enumerate(zip(*(run.subnets[key] for key in COLUMNS))):
            row = dict(zip((*COLUMNS[:-1], quality), values))
            rows.append({**same, **row, "on_front": i in front})
    return rows
