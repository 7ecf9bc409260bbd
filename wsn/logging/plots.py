"""Pictures of fronts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from wsn.evaluation.quality import ACCURACY, Quality, quality_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """The cost that a front is drawn against: key of the rows, label with unit, and scale to it."""

    key: str
    label: str
    scale: float


MACS = Axis("macs", "multiply-adds (millions)", 1e-6)
# Okabe & Ito's palette, told apart by colour-blind readers.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8A8A"
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
MARKERS = "os*Dv^<>pPhX"
LINES = ("-", "--", ":", "-.")


def plot_front(rows: Sequence[Row], front: Sequence[Row], path: str | Path, title: str, axis: Axis = MACS) -> None:
    """Draw quality against a cost: all subnets as dots, the front as a line, the named subnets with their names.

    Args:
        rows: evaluated subnets.
        front: the non-dominated ones, ascending in the cost.
        path: of the PNG, 1200×800 pixels.
        title: of the picture.
        axis: the cost.
    """
    figure = Figure(figsize=(8, 5.33), dpi=150, layout="constrained")
    axes = figure.subplots()
    quality = quality_of(rows)
    others = [r for r in rows if not r.get("on_front")]
    axes.scatter(*_points(others, axis), s=28, color=GREY, label="dominated", zorder=2)
    axes.step(*_points(front, axis), where="post", color=BLUE, linewidth=1.8, zorder=3)
    axes.scatter(*_points(front, axis), s=42, color=BLUE, label="on the front", zorder=4)
    named = [r for r in rows if r["kind"] not in ("random", "search")]
    axes.scatter(*_points(named, axis), s=120, facecolors="none", edgecolors=ORANGE, linewidths=1.5, zorder=5)
    for r in named:
        left = r[axis.key] == max(x[axis.key] for x in rows)
        axes.annotate(
            f"{r['kind']}\n{quality.text(r)}",
            (axis.scale * r[axis.key], quality.shown(r)),
            xytext=(-8 if left else 8, -10),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top",
            fontsize=9,
            color=ORANGE,
        )
    _finish(axes, [r[axis.key] for r in rows], quality, axis)
    axes.set_title(title)
    axes.legend(loc="lower right" if quality.direction == "max" else "upper right", frameon=False)
    figure.savefig(path)


def plot_comparison(
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    alone: Sequence[tuple[float, float, float]],
    largest: float,
    path: str | Path,
    quality: Quality = ACCURACY,
) -> None:
    """Draw the mean fronts of several methods as steps, with one standard deviation over seeds.

    The deviations of up to four methods are bands, of more methods bars at a few budgets.

    Args:
        series: method → (MACs in millions, mean of the best quality within them, deviation), ascending in MACs.
        alone: the same of subnets that were trained alone, which are drawn as points.
        largest: MACs in millions that the fronts are drawn up to.
        path: of the PNG, 1500×900 pixels.
        quality: what is drawn.
    """
    figure = Figure(figsize=(10, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(series.items()):
        macs, means, deviations = map(list, zip(*points, (largest, *points[-1][1:])))
        look: dict[str, Any] = {
            "color": PALETTE[i % len(PALETTE)],
            "linestyle": LINES[i // len(PALETTE) % len(LINES)],
            "drawstyle": "steps-post",
            "linewidth": 1.5,
        }
        some = sorted(set(np.linspace(0, len(points) - 1, min(len(points), 8)).round().astype(int)))
        axes.plot(macs, means, marker=MARKERS[i % len(MARKERS)], markevery=some, markersize=6, label=name, **look)
        if len(series) <= 4:
            low, high = np.subtract(means, deviations), np.add(means, deviations)
            axes.fill_between(macs, low, high, step="post", color=look["color"], alpha=0.15, linewidth=0)
        else:
            x, y, spread = ([column[j] for j in some] for column in (macs, means, deviations))
            axes.errorbar(x, y, spread, fmt="none", ecolor=look["color"], elinewidth=0.7, capsize=2, alpha=0.6)
    if alone:
        macs, means, deviations = map(list, zip(*alone))
        axes.errorbar(
            macs, means, deviations, fmt="D", color="black", markerfacecolor="white", markersize=7, elinewidth=1,
            capsize=3, label="trained alone", zorder=5,
        )  # fmt: skip
    _finish(axes, [p[0] for points in (*series.values(), alone) for p in points], quality)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path)


def _finish(axes: Any, costs: Sequence[float], quality: Quality, axis: Axis = MACS) -> None:
    """Label the axes of a front; costs over a wide range are on a logarithmic one."""
    if max(costs) > 4 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="both", labelsize=9)
    axes.margins(y=0.12)
    axes.set_xlabel(axis.label)
    axes.set_ylabel(quality.label)
    axes.grid(True, which="major", color="#E5E5E5", zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _points(rows: Sequence[Row], axis: Axis) -> tuple[list[float], list[float]]:
    quality = quality_of(rows)
    return [axis.scale * r[axis.key] for r in rows], [quality.shown(r) for r in rows]
