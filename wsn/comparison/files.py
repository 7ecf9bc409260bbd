"""Files of a comparison, for papers (Markdown) and for other programs (CSV)."""

from typing import Any

from wsn.comparison.runs import COLUMNS
from wsn.comparison.summary import NAMED, Comparison
from wsn.comparison.tables import (
    Table,
    break_even_table,
    correlation_table,
    front_mean,
    gap_table,
    named,
    per_method,
    verdict,
    volume_text,
)

Row = dict[str, Any]


def markdown(c: Comparison) -> str:
    """Return the table for papers, the tests, and how the methods stand against subnets trained alone."""
    table = per_method(c, without=("median", "mean rank", "p", "δ", "subnets"))
    lines = [markdown_table(table), f"\nHypervolume: {volume_text(c)}", " ".join(verdict(c))]
    if c.alone:
        for title, (note, part) in against_alone(c).items():
            lines.append(f"\n**{title}.** {note}\n\n{markdown_table(part)}")
    return "\n".join(lines) + "\n"


def against_alone(c: Comparison) -> dict[str, tuple[str, Table]]:
    """Return the tables of a comparison with subnets trained alone: title → (what it shows, table)."""
    measure = c.quality.name
    return {
        "Gap to training alone": (
            f"{measure[0].upper()}{measure[1:]} less that of the same subnet trained alone, paired over seeds; mean ± "
            "half of the 95 % confidence interval. First row: alone, mean ± standard deviation.",
            gap_table(c),
        ),
        "Break-even": (
            "From how many deployed sizes on one supernet costs less than training each alone to the same quality.",
            break_even_table(c),
        ),
        "Rank agreement and stability": (
            "With subnets trained alone, between seeds, and over the last epochs; mean ± standard deviation.",
            correlation_table(c),
        ),
    }


def markdown_table(table: Table) -> str:
    """Return a table as Markdown; methods are set as code."""
    titles = [title for title, _ in table.heads]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for i, (first, *rest) in enumerate(table.rows):
        code = bool(table.methods[i : i + 1] and table.methods[i])
        cells = [f"`{first.text}`" if code else first.text, *(cell.text for cell in rest)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
