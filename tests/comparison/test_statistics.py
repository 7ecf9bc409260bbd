"""Statistics against scipy, against enumeration, and against cases worked out by hand."""

import itertools
import random

import numpy as np
import pytest
from scipy import stats

from wsn.comparison import statistics as s
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import ACCURACY, BITS_PER_BYTE


def enumerated_p(a, b):
    """Return the share of all ways to split the values in which U is at least as far from its mean."""
    both, mean = [*a, *b], len(a) * len(b) / 2

    def far(group):
        rest = [v for i, v in enumerate(both) if i not in group]
        return abs(sum(both[i] > r for i in group for r in rest) - mean)

    observed = far(range(len(a)))
    splits = list(itertools.combinations(range(len(both)), len(a)))
    return sum(far(set(split)) >= observed for split in splits) / len(splits)


def test_mann_whitney_is_exact_without_ties():
    rng = random.Random(0)
    for n, m in [(3, 3), (3, 5), (4, 4), (1, 3)]:
        a, b = [rng.random() for _ in range(n)], [rng.random() + 0.3 for _ in range(m)]
        assert s.mann_whitney(a, b) == pytest.approx(enumerated_p(a, b))
    assert s.mann_whitney([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)
    assert s.smallest_p(3, 3) == pytest.approx(0.1)
    assert s.smallest_p(5, 5) == pytest.approx(enumerated_p(range(5), range(5, 10)))
    assert s.smallest_p(1, 1) == 1


def test_mann_whitney_with_ties_and_equal_values():
    tied = stats.mannwhitneyu([1, 2, 2], [2, 3, 4], method="asymptotic").pvalue
    assert s.mann_whitney([1, 2, 2], [2, 3, 4]) == pytest.approx(tied)
    assert s.mann_whitney([1, 1], [1, 1]) == 1


def test_holm_against_its_definition():
    p = [0.04, 0.005, 0.03, 0.2]
    # sorted: .005*4, .03*3, .04*2 (not below the one before), .2*1
    assert s.holm(p) == pytest.approx([0.09, 0.02, 0.09, 0.2])
    assert s.holm([0.9, 0.8]) == [1, 1]
    assert s.holm([]) == []


def test_cliffs_delta_is_the_scaled_u():
    rng = random.Random(1)
    a, b = [rng.random() for _ in range(6)], [rng.random() for _ in range(4)]
    u = stats.mannwhitneyu(a, b).statistic
    assert s.cliffs_delta(a, b) == pytest.approx(2 * u / 24 - 1)
    assert s.cliffs_delta([3, 4], [1, 2]) == 1
    assert s.cliffs_delta([1, 1], [1, 1]) == 0


def test_pairs_correct_over_all_and_against_the_best_over_those():
    values = {"a": [7.0, 8, 9], "b": [4.0, 5, 6], "c": [1.0, 2, 3]}
    pairs = s.pairwise(values)
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.p_holm for pair in pairs.values()] == pytest.approx([0.3] * 3)
    best = s.against_best(values)
    assert list(best) == ["b", "c"]
    assert best["b"].p_holm == pytest.approx(0.2)
    assert best["b"].delta == 1


def test_overall_test_pairs_seeds_whatever_their_order():
    values = {"a": [3.0, 1.0, 2.0], "b": [4.0, 6.0, 5.0], "c": [9.0, 7.0, 8.5]}
    seeds = {"a": [0, 1, 2], "b": [0, 2, 1], "c": [1, 0, 2]}
    found = s.overall_test(values, seeds)
    wanted = stats.friedmanchisquare([3, 1, 2], [4, 5, 6], [7, 9, 8.5])
    assert (found.name, found.statistic, found.p) == ("Friedman", wanted.statistic, wanted.pvalue)
    assert s.mean_ranks(values, seeds) == {"a": 3.0, "b": 2.0, "c": 1.0}


def test_overall_test_without_shared_seeds():
    values = {"a": [3.0, 1.0, 2.0], "b": [4.0, 6.0], "c": [9.0, 7.0, 8.5]}
    seeds = {"a": [0, 1, 2], "b": [0, 1], "c": [0, 1, 2]}
    found = s.overall_test(values, seeds)
    assert found.name == "Kruskal–Wallis"
    assert found.p == pytest.approx(stats.kruskal(*values.values()).pvalue)
    assert s.mean_ranks(values, seeds) == {}
    repeated = {m: [0, 0, 1][: len(v)] for m, v in values.items()}
    assert s.overall_test(values, repeated).name == "Kruskal–Wallis"


def test_overall_test_says_why_there_is_none():
    assert "three" in s.overall_test({"a": [1.0], "b": [2.0]}, {"a": [0], "b": [0]}).name
    ones = {m: [float(i)] for i, m in enumerate("abc")}
    assert "one seed" in s.overall_test(ones, {m: [0] for m in "abc"}).name
    for seeds in ([0, 1], [0, 0]):
        same = s.overall_test({m: [1.0, 1.0] for m in "abc"}, {m: seeds for m in "abc"})
        assert "equal" in same.name
        assert same.p is None


@pytest.mark.parametrize("sign", [1, -1])
def test_front_of_is_that_of_front(sign):
    rng = np.random.default_rng(0)
    costs, qualities = rng.integers(0, 12, 60).tolist(), rng.integers(0, 12, 60).tolist()
    rows = [{"id": i, "c": c, "q": q} for i, (c, q) in enumerate(zip(costs, qualities))]
    wanted = Front(rows, {"c": "min", "q": "max" if sign > 0 else "min"})
    assert s.front_of(costs, qualities, sign) == [row["id"] for row in wanted]


def test_hypervolume_by_hand():
    # up to 1: none; 1 to 2: 50 %; 2 to 4: 80 %, over 4
    assert s.hypervolume([1, 2, 3], [50, 80, 60], ACCURACY, 4) == pytest.approx((50 + 2 * 80) / 4)
    # bits per byte of 8: saved 4 from 1 to 2, saved 6 from 2 to 4
    assert s.hypervolume([1, 2], [4, 2], BITS_PER_BYTE, 4) == pytest.approx(100 * (4 + 2 * 6) / (8 * 4))
    assert s.hypervolume([5], [90], ACCURACY, 4) == 0


def test_rank_correlation_against_scipy():
    x, y = [1.0, 2, 3, 4, 4], [1.0, 3, 2, 5, 4]
    tau, rho = s.rank_correlation(x, y)
    assert tau == pytest.approx(stats.kendalltau(x, y, variant="b").statistic)
    assert rho == pytest.approx(stats.pearsonr(stats.rankdata(x), stats.rankdata(y)).statistic)
    assert s.rank_correlation([1, 2], [1, 2]) is None
    assert s.rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_mean_front_against_looking_up_every_budget():
    rng = random.Random(3)
    fronts = []
    for _ in range(3):
        costs = sorted(rng.sample(range(100), 6))
        fronts.append((costs, sorted(rng.random() for _ in costs)))
    budgets, means, deviations = s.mean_front(fronts)
    assert budgets[0] == max(costs[0] for costs, _ in fronts)
    for budget, mean, deviation in zip(budgets, means, deviations):
        best = [max(q for c, q in zip(*front) if c <= budget) for front in fronts]
        assert (mean, deviation) == (pytest.approx(np.mean(best)), pytest.approx(np.std(best, ddof=1)))
    assert s.mean_front([([1, 2], [3, 4])]) == ([1, 2], [3, 4], [0, 0])


def test_interval_and_paired_test_against_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.random(5), rng.random(5)
    low, high = stats.t.interval(0.95, 4, loc=a.mean(), scale=stats.sem(a))
    assert s.half_interval(a.tolist()) == pytest.approx((high - low) / 2)
    assert s.half_interval([0.3]) is None
    assert s.paired_t(a, b) == pytest.approx(stats.ttest_1samp(a - b, 0).pvalue)
    assert s.paired_t([1, 2], [1, 2]) == 1
    assert s.paired_t([2, 3], [1, 2]) == 0


def test_pairs_of_shared_seeds_are_paired():
    values = {"a": [1.0, 2.0, 3.0], "b": [3.1, 1.1, 2.0], "c": [5.0]}
    pairs = s.pairwise(values, {"a": [0, 1, 2], "b": [2, 0, 1], "c": [7]})
    expected = stats.ttest_rel([1.0, 2.0, 3.0], [1.1, 2.0, 3.1]).pvalue
    assert pairs["a", "b"].paired == pytest.approx(expected)
    assert pairs["a", "b"].paired_holm == pytest.approx(expected)  # the only pair that is paired
    assert pairs["a", "c"].paired is None
    assert not pairs["a", "c"].sure


def test_compute_to_reach_a_quality():
    curve = [(100, 88.0), (10, 80.0), (30, 70.0)]  # the second way is worse than the shorter one
    assert s.compute_to_reach(curve, 84.0, 1) == pytest.approx(10**1.5)
    assert s.compute_to_reach(curve, 60.0, 1) == pytest.approx(10)
    assert s.compute_to_reach(curve, 90.0, 1) == pytest.approx(100)
    assert s.compute_to_reach([(10, 3.0), (100, 2.0)], 2.5, -1) == pytest.approx(10**1.5)
