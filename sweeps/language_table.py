"""Perplexity of each method at each size, from the runs of language_small.sh: a table and a picture.

python sweeps/language_table.py outputs/family      # writes family.md and family.png there
"""

import json
import sys
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from wsn.files import read_csv
from wsn.logging.plots import LINES, MARKERS, PALETTE

TEXTS = {"shakespeare": "Hamlet", "python": "Python source"}
SHARES = (1.0, 0.8, 0.65, 0.5)
NEAR = 0.04
TOP = 1000  # perplexity up to which the picture shows; the table has the rest
NAMES = {
    "amoeba": "AmoebaLLM",
    "one_lora": "… one LoRA for SMoL",
    "no_balance": "… without balancing",
    "block_influence": "… layers by Block Influence for DP",
    "magnitude": "… width by magnitude for FLAP",
    "alone": "each shape alone, all weights",
    "flextron": "Flextron, static router",
    "whittle": "whittle's sandwich, all weights",
    "untrained": "AmoebaLLM's shapes, not trained",
    "channels_only_flap": "FLAP, width only, not trained",
    "layers_only": "Block Influence, layers only, not trained",
    "channels_only_l1": "magnitude, width only, not trained",
}


def main(folder: Path) -> None:
    """Read the runs, write table and picture."""
    found = {label: read(folder, name) for name, label in NAMES.items()}
    found = {label: texts for label, texts in found.items() if any(texts.values())}
    tables = table(found) + "\n" + bits_table(folder / "llm_qfa")
    (folder / "family.md").write_text(tables, "utf-8")
    draw(found, folder / "family.png")
    print(tables)


def read(folder: Path, name: str) -> dict[str, dict[float, float]]:
    """Return text → share of the parameters → perplexity."""
    paths = [folder / name] if (folder / name).is_dir() else sorted(folder.glob(f"{name}_*"))
    full = max(row["params"] for row in read_csv(folder / "untrained" / "subnets.csv"))
    texts: dict[str, dict[float, float]] = {}
    for text in TEXTS:
        rows = [row for path in paths for row in _rows(path, text)]
        if any(row["kind"].startswith("budget") for row in rows):  # a router has chosen
            rows = [row for row in rows if row["kind"].startswith("budget") or row["kind"] == "largest"]
        near = ((share, row) for row in rows for share in SHARES if abs(share - row["params"] / full) < NEAR)
        texts[text] = {share: row["perplexity"] for share, row in sorted(near, key=lambda pair: pair[0])}
    return texts


def _rows(run: Path, text: str) -> list[dict]:
    """Return what was measured on a text; the run itself has measured Hamlet when it ended."""
    if (run / f"{text}.csv").exists():
        return read_csv(run / f"{text}.csv")
    if text == "shakespeare" and (run / "subnets.csv").exists():
        return [row for row in read_csv(run / "subnets.csv") if row["split"] == "test"]
    return []


def table(found: dict[str, dict[str, dict[float, float]]]) -> str:
    """Return Markdown: a row per method, a column per text and share."""
    heads = [f"{title}, {share:.0%}" for title in TEXTS.values() for share in SHARES]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for label, texts in found.items():
        cells = [texts[text].get(share) for text in TEXTS for share in SHARES]
        lines.append(f"| {label} | {' | '.join('' if c is None else _number(c) for c in cells)} |")
    return "\n".join(lines) + "\n"


def bits_table(run: Path) -> str:
    """Return Markdown: a row per subnet of a run of bit-widths, a column per text."""
    texts = {text: {row["id"]: row for row in _rows(run, text)} for text in TEXTS}
    subnets = sorted(texts["shakespeare"].values(), key=_mean_bits, reverse=True)
    lines = [f"| LLM-QFA, bits in the mean | {' | '.join(TEXTS.values())} |", "|---|---|---|"]
    for subnet in subnets:
        cells = [_number(texts[text][subnet["id"]]["perplexity"]) for text in TEXTS]
        lines.append(f"| {_mean_bits(subnet):.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if subnets else ""


def _mean_bits(row: dict) -> float:
    return mean(json.loads(row["arch"])["bits"])


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def draw(found: dict[str, dict[str, dict[float, float]]], path: Path) -> None:
    """Draw perplexity against the share of the parameters, a panel per text."""
    figure = Figure(figsize=(12, 5.5), dpi=130, layout="constrained")
    for axes, (text, title) in zip(figure.subplots(1, 2, sharex=True), TEXTS.items()):
        for i, (label, texts) in enumerate(found.items()):
            shares, values = list(texts[text]), list(texts[text].values())
            style = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "label": label}
            axes.plot([100 * s for s in shares], values, linestyle=LINES[i // len(PALETTE)], **style)
        axes.set(title=title, xlabel="parameters (% of the checkpoint)", ylabel="perplexity, held out", yscale="log")
        axes.set_ylim(top=TOP)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
