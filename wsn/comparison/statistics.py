"""Statistics over seeds: hypervolumes, rank tests, gaps, rank correlations, mean fronts. Pure functions."""

import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from wsn.evaluation.pareto import Front, non_dominated
from wsn.evaluation.quality import Quality
from wsn.search.ranking import kendall_tau


@dataclass(frozen=True)
class Overall:
    """A test of whether all methods are alike: its name, statistic and p; without them, ``name`` says why."""

    name: str
    statistic: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Pair:
    """Two methods: p of Mann-Whitney's U, the same after Holm's correction, and Cliff's delta (first - second).

    Where both have the same seeds, ``paired`` and ``paired_holm`` are p of Student's t over these.
    """

    p: float
    p_holm: float
    delta: float
    paired: float | None = None
    paired_holm: float | None = None

    @property
    def sure(self) -> bool:
        """Whether they differ at p < 0.05, corrected: by the paired test where there is one."""
        return (self.p_holm if self.paired_holm is None else self.paired_holm) < 0.05


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def half_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    """Return half the width of the confidence interval of a mean, by Student's t; None of fewer than two values.

    >>> round(half_interval([1.0, 2.0, 3.0]), 3)
    2.484
    """
    sd = deviation(values)
    if sd is None:
        return None
    return float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * sd / math.sqrt(len(values))


def paired_t(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p of Student's t over paired values; 1 where all differences are 0."""
    differences = np.subtract(a, b)
    if np.ptp(differences) < 1e-12:
        return 1.0 if abs(differences[0]) < 1e-12 else 0.0
    return float(stats.ttest_rel(a, b).pvalue)


def compute_to_reach(points: Sequence[tuple[float, float]], quality: float, sign: int) -> float:
    """Return the compute after which a learning curve reaches a quality.

    The curve is the upper hull of the points over the logarithm of the compute, so a way that is worse than what lies
    between two others does not count. A quality that it does not reach takes all of its compute, one below its first
    point that of the first: the true values are above and below.

    Args:
        points: (compute, quality), of trainings of different lengths and settings.
        quality: to reach.
        sign: 1 where much quality is good, -1 where little is.

    >>> round(compute_to_reach([(1, 80), (4, 90)], 85, 1), 6)
    2.0
    """
    hull: list[tuple[float, float]] = []
    for x, y in sorted((math.log(spent), sign * value) for spent, value in points):
        while hull and (y >= hull[-1][1] if x == hull[-1][0] else _below(hull, x, y)):
            hull.pop()
        if not hull or y > hull[-1][1]:
            hull.append((x, y))
    for (x, y), (further, better) in itertools.pairwise(hull):
        if sign * quality <= better:
            return math.exp(x + max(0.0, (sign * quality - y) / (better - y)) * (further - x))
    return math.exp(hull[-1][0])


def _below(hull: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    """Tell whether the last point of a hull is below the line from the one before to (x, y)."""
    if len(hull) < 2:
        return False
    (x0, y0), (x1, y1) = hull[-2:]
    return (y1 - y0) * (x - x0) <= (y - y0) * (x1 - x0)


def front_of(costs: Sequence[float], qualities: Sequence[float], sign: int) -> list[int]:
    """Return the indices of the non-dominated points, ascending in cost; of equal points the first.

    Args:
        costs: to be small.
        qualities: as many.
        sign: 1 where much quality is good, -1 where little is.
    """
    points = np.column_stack([np.asarray(costs, float), -sign * np.asarray(qualities, float)])
    chosen = sorted(np.flatnonzero(non_dominated(points)), key=lambda i: (points[i, 0], i))
    return [int(i) for n, i in enumerate(chosen) if not n or points[i, 0] != points[chosen[n - 1], 0]]


def hypervolume(macs: Sequence[float], shown: Sequence[float], quality: Quality, largest: float) -> float:
    """Return the hypervolume in percent of the largest possible: the mean quality over all budgets up to ``largest``.

    Args:
        macs: multiply-adds of the subnets.
        shown: their qualities as :meth:`Quality.shown`.
        quality: the measure; its worst value is the other half of the reference point.
        largest: the reference point's multiply-adds.
    """
    rows = [{"macs": macs[i], quality.key: shown[i] / quality.scale} for i in front_of(macs, shown, quality.sign)]
    volume = Front(rows, quality.objectives).hypervolume({"macs": largest, quality.key: quality.worst})
    return 100 * quality.hypervolume_share(volume, largest)


def smallest_p(n: int, m: int) -> float:
    """Return the smallest two-sided p that an exact Mann-Whitney test of n against m values can give.

    >>> smallest_p(3, 3)
    0.1
    """
    return min(1.0, 2 / math.comb(n + m, n))


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p of Mann-Whitney's U: exact, or by the normal approximation where values tie."""
    if len({*a, *b}) == 1:
        return 1.0
    tied = len({*a, *b}) < len(a) + len(b)
    return float(stats.mannwhitneyu(a, b, method="asymptotic" if tied else "exact").pvalue)


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """Return P(a > b) - P(a < b), in [-1, 1] (Cliff 1993).

    >>> cliffs_delta([3, 4], [1, 3])
    0.75
    """
    return float(np.sign(np.subtract.outer(np.asarray(a, float), np.asarray(b, float))).mean())


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected


def pairwise(
    values: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[Hashable]] | None = None
) -> dict[tuple[str, str], Pair]:
    """Compare all pairs of methods, in the order of ``values``; Holm's correction is over all of them.

    Args:
        values: method → one value a run.
        seeds: method → the seeds of these runs; with those that two methods share, each once, values are paired too.
    """
    pairs = list(itertools.combinations(values, 2))
    found = _pairs(values, pairs)
    paired = {pair: p for pair in pairs if (p := _paired(values, seeds, *pair)) is not None} if seeds else {}
    for (pair, p), corrected in zip(paired.items(), holm(list(paired.values()))):
        found[pair] = replace(found[pair], paired=p, paired_holm=corrected)
    return found


def _paired(
    values: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[Hashable]], a: str, b: str
) -> float | None:
    """Return p of the paired test of two methods over their shared seeds; None of fewer than two."""
    of_seed = [dict(zip(seeds[label], values[label])) for label in (a, b)]
    shared = [seed for seed in of_seed[0] if seed in of_seed[1]]
    return paired_t(*([found[seed] for seed in shared] for found in of_seed)) if len(shared) > 1 else None


def against_best(values: Mapping[str, Sequence[float]]) -> dict[str, Pair]:
    """Compare the first method of ``values`` with each other one; Holm's correction is over these."""
    best, *others = values
    return {b: pair for (_, b), pair in _pairs(values, [(best, other) for other in others]).items()}


def _pairs(values: Mapping[str, Sequence[float]], pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Pair]:
    p = [mann_whitney(values[a], values[b]) for a, b in pairs]
    return {
        (a, b): Pair(raw, corrected, cliffs_delta(values[a], values[b]))
        for (a, b), raw, corrected in zip(pairs, p, holm(p))
    }


def share_seeds(seeds: Mapping[str, Sequence[Hashable]]) -> bool:
    """Tell whether all methods have the same two or more seeds, each once: then seeds are blocks."""
    first, *others = (sorted(map(str, s)) for s in seeds.values())
    return len(first) > 1 and len(set(first)) == len(first) and all(other == first for other in others)


def overall_test(values: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[Hashable]]) -> Overall:
    """Test whether all methods are alike: Friedman where they share the seeds, else Kruskal-Wallis.

    Args:
        values: method → one value a run.
        seeds: method → the seeds of these runs, in the same order.
    """
    if len(values) < 3:
        return Overall("No test of all methods together: it needs three or more")
    if not any(len(v) > 1 for v in values.values()):
        return Overall("No test: one seed each")
    if share_seeds(seeds):
        blocks = [[v for _, v in sorted(zip(map(str, seeds[m]), values[m]))] for m in values]
        name, found = "Friedman", _quietly(stats.friedmanchisquare, *blocks)
    else:
        name, found = "Kruskal–Wallis", _quietly(stats.kruskal, *values.values())
    if found is None:
        return Overall("No test: all values are equal")
    return Overall(name, *found)


def mean_ranks(values: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[Hashable]]) -> dict[str, float]:
    """Return each method's mean rank over the seeds that all share, 1 the best (largest value); empty where none."""
    if not share_seeds(seeds):
        return {}
    blocks = [[v for _, v in sorted(zip(map(str, seeds[m]), values[m]))] for m in values]
    ranks = stats.rankdata(-np.array(blocks), axis=0).mean(axis=1)
    return dict(zip(values, map(float, ranks)))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Return Kendall's τ-b and Spearman's ρ; None of fewer than three points, or where all of one side are equal."""
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return kendall_tau(x, y), float(stats.spearmanr(x, y).statistic)


def mean_front(
    fronts: Iterable[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float], list[float]]:
    """Return the mean over runs of the best quality within each budget, and its standard deviation.

    A run's best within a budget is the last member of its front that is no more expensive: a step function. The
    budgets are those where any run's steps, from the first at which every run has a subnet; so nothing is interpolated.

    Args:
        fronts: of each run, costs in ascending order and their qualities.

    Returns:
        budgets, means, deviations (0 for one run).

    >>> mean_front([([1, 3], [10, 30]), ([2], [20])])
    ([2, 3], [15.0, 25.0], [7.0710678118654755, 7.0710678118654755])
    """
    fronts = list(fronts)
    start = max(costs[0] for costs, _ in fronts)
    budgets = sorted({c for costs, _ in fronts for c in costs if c >= start})
    best = np.array([np.asarray(q, float)[np.searchsorted(c, budgets, side="right") - 1] for c, q in fronts])
    spread = best.std(axis=0, ddof=1) if len(fronts) > 1 else np.zeros(len(budgets))
    return budgets, best.mean(axis=0).tolist(), spread.tolist()


def _quietly(test: Callable[..., Any], *groups: Sequence[float]) -> tuple[float, float] | None:
    """Return statistic and p of a scipy test; None where it is not defined."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = test(*groups)
    except ValueError:  # older scipy: all numbers are identical
        return None
    return (float(found.statistic), float(found.pvalue)) if np.isfinite(found.pvalue) else None
