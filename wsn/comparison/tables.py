"""Tables of a comparison."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from wsn.comparison.runs import Run
from wsn.comparison.statistics import (
    against_best,
    deviation,
    half_interval,
    mean_ranks,
    overall_test,
    rank_correlation,
    share_seeds,
    smallest_p,
)
from wsn.comparison.summary import NAMED, Comparison, Key, differences
from wsn.search.ranking import sparse_kendall_tau, surpasses_random, top_n_rank

NONE = "–"
FEW = 12  # pairs of methods that are named
MANY = 8  # subnets trained alone that a table has columns for
TOP = 5
SPARSE = 0.002  # of accuracy, or bits per byte
BY_MACS = "MACs alone"


@dataclass(frozen=True)
class Cell:
    """A table's cell: text, the value it sorts by, what a pointer over it shows, and whether it is good or bad news."""

    text: str
    value: float | str | None = None
    title: str = ""
    tone: str = ""


@dataclass
class Table:
    """Rows of cells below their heads (title, explanation); ``methods`` has each row's method, where it has one."""

    heads: Sequence[tuple[str, str]]
    rows: list[list[Cell]]
    methods: Sequence[str] = field(default_factory=list)


def spread(values: Iterable[float | None], digits: int = 1, sign: str = "") -> Cell:
    """Return mean ± standard deviation of the known values."""
    known = [v for v in values if v is not None]
    if not known:
        return Cell(NONE)
    mean, sd = statistics.fmean(known), deviation(known)
    text = f"{mean:{sign}.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else "")
    return Cell(text, mean, f"median {statistics.median(known):.{digits}f}, n = {len(known)}")


def p_text(p: float) -> str:
    """Return a p-value as papers print it."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


CellOf: TypeAlias = Callable[[str], Cell]


def _columns(c: Comparison) -> dict[str, tuple[str, CellOf]]:
    """Return the columns of tables with a row per method: title → explanation, and the cell of a label."""
    return {
        "method": ("name and tags", lambda label: Cell(label, label)),
        "seeds": ("number of runs", lambda label: _number(len(c.groups[label]), 0)),
        **_volume_columns(c),
        **_quality_columns(c),
        "subnets": ("evaluated in each run", lambda label: _number(_mean(len(r) for r in c.groups[label]), 0)),
        "GMACs spent": ("in training", lambda label: _number(_mean(r.gmacs for r in c.groups[label]), 0)),
        "minutes": ("of training", lambda label: _number(_mean(r.minutes for r in c.groups[label]), 1)),
    }


def _volume_columns(c: Comparison) -> dict[str, tuple[str, CellOf]]:
    ranks, versus = mean_ranks(c.hypervolumes, c.seeds), against_best(c.hypervolumes)

    def p(label: str) -> Cell:
        pair = versus.get(label)
        return Cell(p_text(pair.p_holm), pair.p_holm, f"uncorrected {pair.p:.3g}") if pair else Cell("best", 2.0)

    def delta(label: str) -> Cell:
        return Cell(f"{versus[label].delta:+.2f}", versus[label].delta) if label in versus else Cell("best", -2.0)

    return {
        "hypervolume": (
            "percent of the largest possible, mean ± standard deviation over seeds",
            lambda label: spread(c.hypervolumes[label], 2),
        ),
        "median": ("of the hypervolumes", lambda label: _number(statistics.median(c.hypervolumes[label]), 2)),
        "mean rank": (
            "over the seeds that all methods share; 1 is best",
            lambda label: _number(ranks.get(label), 2),
        ),
        "p": ("Mann–Whitney U against the best, two-sided, Holm-corrected over this column", p),
        "δ": ("Cliff's delta of the best against this method: 1 if all its runs are better, 0 if neither's are", delta),
    }


def _quality_columns(c: Comparison) -> dict[str, tuple[str, CellOf]]:
    digits = c.quality.digits
    kinds = [kind for kind in NAMED if kind in c.names.values()]
    columns: dict[str, tuple[str, CellOf]] = {
        kind: (
            f"{c.quality.label} of the {kind} subnet",
            lambda label, kind=kind: spread((named(r, kind) for r in c.groups[label]), digits),  # type: ignore[misc]
        )
        for kind in kinds
    }
    columns["front mean"] = (
        f"mean {c.quality.name} of the front's members",
        lambda label: spread((front_mean(c, r) for r in c.groups[label]), digits),
    )
    for key in c.alone:
        if key in c.names:
            columns[f"gap of {c.names[key]} to alone"] = (
                f"{c.quality.name} less that of the same subnet trained alone, paired over seeds: mean ± half of the "
                "95 % confidence interval",
                lambda label, key=key: gap(c, label, key),  # type: ignore[misc]
            )
    if c.alone:
        columns["break-even"] = (
            "from how many deployed sizes on one supernet costs less than training each alone to the same quality",
            lambda label: break_even(c, label),
        )
    return columns


def named(run: Run, kind: str) -> float | None:
    """Return the quality of a run's smallest, middle or largest subnet; None if it was not evaluated."""
    kinds = run.subnets["kind"]
    return run.subnets["quality"][kinds.index(kind)] if kind in kinds else None


def front_mean(c: Comparison, run: Run) -> float:
    """Return the mean quality of the members of a run's front."""
    return statistics.fmean(run.subnets["quality"][i] for i in c.front(run))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else None


def _number(value: float | None, digits: int) -> Cell:
    return Cell(NONE) if value is None else Cell(f"{value:,.{digits}f}" if digits else f"{value:.0f}", value)


def mean_interval(values: Sequence[float], digits: int, sign: str = "") -> Cell:
    """Return the mean of values and half of its 95 % confidence interval; one value has none."""
    if not values:
        return Cell(NONE)
    mean, half = statistics.fmean(values), half_interval(values)
    text = f"{mean:{sign}.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")
    return Cell(text, mean, f"mean and 95 % confidence interval, n = {len(values)}")


def gap(c: Comparison, label: str, key: Key) -> Cell:
    """Return how far a method's subnet is from the same subnet trained alone, paired over seeds."""
    cell = mean_interval(c.gaps(label).get(key, []), c.quality.digits, "+")
    if cell.value is None:
        return cell
    better = float(cell.value) * c.quality.sign > 0
    return Cell(cell.text, cell.value, cell.title, "good" if better else "bad")


def break_even(c: Comparison, label: str) -> Cell:
    """Return from how many sizes on a method's supernet is cheaper than training each alone to the same quality."""
    found = c.break_even(label)
    if found is None:
        return Cell(NONE)
    note = f"{found.spent:,.0f} GMACs; alone {found.alone:,.0f} for a size" + ("" if found.reached else ", or more")
    return Cell(f"{'' if found.reached else '< '}{found.sizes:.1f}", found.sizes, note)


def per_method(c: Comparison, titles: Sequence[str] | None = None, without: Sequence[str] = ()) -> Table:
    """Return the table with a row per method, the best hypervolume first.

    Args:
        c: the comparison.
        titles: of the columns; None: all that are known.
        without: columns to leave out.
    """
    columns = _columns(c)
    chosen = [t for t in titles or columns if t in columns and t not in without]
    rows = [[columns[title][1](label) for title in chosen] for label in c.groups]
    return Table([(title, columns[title][0]) for title in chosen], rows, list(c.groups))


def pair_table(c: Comparison) -> Table:
    """Return the matrix of methods: Cliff's delta of row against column; p-values where a pointer is over it."""
    pairs = c.pairs
    labels = list(c.groups)

    def cell(a: str, b: str) -> Cell:
        if a == b:
            return Cell("")
        pair, sign = (pairs[a, b], 1) if (a, b) in pairs else (pairs[b, a], -1)
        delta = sign * pair.delta + 0.0
        title = f"{a} against {b}: δ = {delta:+.2f}, p = {pair.p:.3g}, Holm-corrected {pair.p_holm:.3g}"
        if pair.paired is not None:
            title += f"; paired t: p = {pair.paired:.3g}, Holm-corrected {pair.paired_holm:.3g}"
        sure = "*" if pair.sure else ""
        return Cell(f"{delta:+.2f}{sure}", delta, title, "good" if delta > 0 else "bad" if delta < 0 else "")

    rows = [[Cell(a, a), *(cell(a, b) for b in labels)] for a in labels]
    return Table([("δ", "row against column"), *((b, "") for b in labels)], rows, labels)


def verdict(c: Comparison) -> list[str]:
    """Return what the rank tests say, and what so many seeds can say at all: one sentence a line."""
    overall = overall_test(c.hypervolumes, c.seeds)
    if overall.p is None:
        lines = [f"{overall.name}."]
    else:
        shared = share_seeds(c.seeds)
        over = f"{len(next(iter(c.seeds.values())))} shared seeds" if shared else "runs of different seeds"
        p = p_text(overall.p) if overall.p < 0.001 else f"= {p_text(overall.p)}"
        lines = [
            f"{overall.name} test of {len(c.groups)} methods over {over}: {'χ²' if shared else 'H'} = "
            f"{overall.statistic:.2f}, p {p} (χ² approximation)."
        ]
    pairs = c.pairs
    if not pairs:
        return lines
    fewest = sorted(len(v) for v in c.hypervolumes.values())
    least = smallest_p(fewest[-1], fewest[-2])
    sure = [f"{a} and {b}" for (a, b), pair in pairs.items() if pair.p_holm < 0.05]
    told = "no pair differs" if not sure else f"{len(sure)} of {len(pairs)} pairs differ"
    lines.append(f"Mann–Whitney U, Holm-corrected over {len(pairs)} pair{'s' * (len(pairs) > 1)}: {told} at p < 0.05.")
    lines.append(
        f"With {fewest[-1]} against {fewest[-2]} seeds p cannot be below {least:.2g}, nor below "
        f"{min(1.0, least * len(pairs)):.2g} after the correction."
    )
    paired = {names: pair.paired_holm for names, pair in pairs.items() if pair.paired_holm is not None}
    if paired:
        sure = [f"{a} and {b}" for (a, b), p in paired.items() if p < 0.05]
        told = "no pair differs" if not sure else f"{len(sure)} of {len(paired)} pairs differ"
        named = f": {'; '.join(sure)}" if 0 < len(sure) <= FEW else ""
        lines.append(
            f"Student's t paired over shared seeds, Holm-corrected over {len(paired)} "
            f"pair{'s' * (len(paired) > 1)}: {told} at p < 0.05{named}."
        )
    return lines


def gap_table(c: Comparison) -> Table:
    """Return the gaps to stand-alone training: a row per method, a column per subnet that was trained alone.

    Of more than :data:`MANY` subnets those with a name are shown.
    """
    digits = c.quality.digits
    shown = {key: alone for key, alone in c.alone.items() if len(c.alone) <= MANY or key in c.names}
    heads = [("method", "")]
    for key, alone in shown.items():
        own = spread(alone.values, digits).text
        heads.append((c.names.get(key, key[0]), f"{key[1] / 1e6:.2f} M MACs; alone {own}, n = {len(alone.values)}"))
    rows = [[Cell(label, label), *(gap(c, label, key) for key in shown)] for label in c.groups]
    own_row = [Cell("trained alone"), *(spread(a.values, digits) for a in shown.values())]
    return Table(heads, [own_row, *rows], ["", *c.groups])


def break_even_table(c: Comparison) -> Table:
    """Return what supernets cost in networks trained alone to the same quality: a row per method."""
    rows, methods = [], []
    for label in c.groups:
        found = c.break_even(label)
        if found is not None:
            told = "" if found.reached else "some sizes alone never get so far"
            rows.append([Cell(label, label), _number(found.spent, 0), _number(found.alone, 0), break_even(c, label),
                         Cell(told)])  # fmt: skip
            methods.append(label)
    heads = [
        ("method", ""), ("GMACs of the supernet", "mean over runs"),
        ("GMACs of a size alone", "until it is as good as the supernet's, mean over the named sizes"),
        ("break-even", "sizes from which on the supernet is cheaper"), ("note", ""),
    ]  # fmt: skip
    return Table(heads, rows, methods)


def correlation_table(c: Comparison) -> Table:
    """Return how well supernets rank subnets: against those trained alone, between seeds, over the last epochs."""
    rows = []
    for label, group in c.groups.items():
        ranks = c.ranks(label)
        shared = max(len(c.qualities(run)) for run in group)
        why = "" if ranks else "needs ≥ 3 subnets" if shared < 3 else "not defined: all are equal"
        rows.append([Cell(label, label), Cell(str(shared), shared), *_rank_cells(c, ranks, why), *_moving(c, label)])
    truth = [c.quality.sign * alone.mean for alone in c.alone.values()]
    by_macs = [float(macs) for _, macs in c.alone]
    if rank_correlation(by_macs, truth):
        cells = _rank_cells(c, [(by_macs, truth)], "")
        rows.append([Cell(BY_MACS, BY_MACS), _number(len(truth), 0), *cells, Cell(NONE), Cell(NONE)])
    heads = [
        ("method", ""),
        ("subnets", "evaluated in its runs and trained alone"),
        ("Kendall τ-b", "with subnets trained alone: of each run, then mean ± standard deviation over runs"),
        ("sparse τ", f"Kendall τ that takes qualities within {_bin(c):g}{c.quality.unit} for equal; the same"),
        ("Spearman ρ", "the same"),
        (
            f"top-{TOP} rank",
            f"place, among those alone, of the best of the {TOP} that the supernet ranks first",
        ),
        ("P(surpass random)", f"probability that {TOP} random ones are all no better than that one"),
        ("τ between seeds", "mean Kendall τ-b of all pairs of its runs (S-Tau)"),
        ("τ over last epochs", "with subnets trained alone, on held-out data: mean ± standard deviation over epochs"),
    ]
    return Table(heads, rows, [*c.groups, ""][: len(rows)])


def _rank_cells(c: Comparison, ranks: Sequence[tuple[Sequence[float], Sequence[float]]], why: str) -> list[Cell]:
    """Return the cells of rank agreement, of (qualities of a run, those alone)."""
    if not ranks:
        return [Cell(why)] * 5
    both = [rank_correlation(q, truth) for q, truth in ranks]
    sparse = [sparse_kendall_tau(q, truth, _bin(c)) for q, truth in ranks]
    return [
        spread([found[0] for found in both if found], 2, "+"),
        spread(sparse, 2, "+"),
        spread([found[1] for found in both if found], 2, "+"),
        spread([top_n_rank(q, truth, TOP) for q, truth in ranks], 1),
        spread([surpasses_random(q, truth, TOP) for q, truth in ranks], 2),
    ]


def _moving(c: Comparison, label: str) -> list[Cell]:
    """Return the cells of stability: between seeds, and over the last epochs of each run."""
    seeds = c.stability(label)
    epochs = [(statistics.fmean(taus), deviation(taus) or 0.0) for taus in c.epoch_ranks(label)]
    if not epochs:
        return [_number(seeds, 2), Cell(NONE)]
    mean, sd = (statistics.fmean(column) for column in zip(*epochs))
    return [_number(seeds, 2), Cell(f"{mean:+.2f} ± {sd:.2f}", mean, "mean over runs of each run's mean and deviation")]


def _bin(c: Comparison) -> float:
    """Return the width within which qualities, as they are shown, count as equal."""
    return SPARSE * c.quality.scale


def run_table(c: Comparison) -> Table:
    """Return the table with a row per run of a method."""
    heads = [(t, "") for t in ("method", "seed", "hypervolume", "subnets", "front", "GMACs spent", "minutes", "folder")]
    rows, methods = [], []
    for label, group in c.groups.items():
        for run, volume in zip(group, c.hypervolumes[label]):
            rows.append([
                Cell(label, label), _number(run.seed, 0), _number(volume, 2), _number(len(run), 0),
                _number(len(c.front(run)), 0), _number(run.gmacs, 0), _number(run.minutes, 1),
                Cell(run.folder, run.folder),
            ])  # fmt: skip
            methods.append(label)
    return Table(heads, rows, methods)


def config_table(c: Comparison) -> Table:
    """Return the config keys in which runs differ: a row per key, a column per method."""
    groups = {**c.groups, **({"trained alone": c.plain} if c.plain else {})}
    rows = []
    for key, values in differences(groups):
        mixed = "" if key.endswith("seed") else "mixed"
        cells = [Cell(" | ".join(values[label]), tone=mixed if len(values[label]) > 1 else "") for label in groups]
        rows.append([Cell(key, key), *cells])
    return Table([("key", ""), *((label, "") for label in groups)], rows)


def volume_text(c: Comparison) -> str:
    """Return what the hypervolume is here, and its reference point."""
    mean = (
        f"mean {c.quality.name} over all budgets" if c.quality.direction == "max"
        else f"mean share of {c.quality.worst:g} {c.quality.name} that is saved, over all budgets"
    )  # fmt: skip
    return (
        f"percent of the area that a front can dominate, i.e. the {mean}. Reference point of all runs: "
        f"{c.largest / 1e6:.2f} M MACs, {c.quality.scale * c.quality.worst:g}{c.quality.unit}."
    )
