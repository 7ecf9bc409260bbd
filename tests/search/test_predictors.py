"""Predictors and ranking measures, on 1,000 subnets with measured ImageNet accuracy."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import wsn
from wsn import WsnError
from wsn.evaluation.pareto import Front
from wsn.search.linas import PredictorAssisted
from wsn.search.predictors import MODELS, Predictor, k_fold_report, scores
from wsn.search.problem import Spent
from wsn.search.ranking import (
    kendall_tau,
    pairwise_accuracy,
    sparse_kendall_tau,
    stability,
    surpasses_random,
    top_k_regret,
    top_n_rank,
)
from wsn.search.strategies import RandomSearch
from wsn.search.table import TableProblem

TABLE = Path(__file__).parents[1] / "assets" / "ofa_mbv3_w1.0_measured.json"


@pytest.fixture(scope="module")
def measured():
    net = wsn.create_supernet("mobilenet")
    table = {}
    for r in json.loads(TABLE.read_text())["rows"]:
        subnet = net.space.subnet(kernel=r["ks"], expand=r["e"], depth=r["d"], resolution=r["r"])
        table[subnet] = {"id": subnet.id, "macs": r["macs"], "acc": float(np.mean(r["top1"])) / 100}
    costs = {"macs": lambda s: wsn.cost(net, s).macs, "params": lambda s: wsn.cost(net, s).params}
    return net.space, table, costs


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[pytest.mark.slow] * (m in ("mlp", "gradient_boosting"))) for m in MODELS]
)
def test_a_hundred_rows_rank_better_than_the_released_predictor(measured, model):
    space, table, costs = measured
    subnets, acc = list(table), np.array([r["acc"] for r in table.values()])
    order = np.random.default_rng(3).permutation(len(acc))
    train, test = order[:100], order[100:]
    macs_alone = kendall_tau([table[subnets[i]]["macs"] for i in test], acc[test])
    predictor = Predictor(space, model, list(costs.values()), members=2).fit([subnets[i] for i in train], acc[train])
    mean, deviation = predictor.predict([subnets[i] for i in test])
    found = scores(mean, acc[test])
    assert macs_alone == pytest.approx(0.81, abs=0.02)
    assert found["kendall_tau"] > 0.883  # OFA's released predictor on these subnets
    assert found["rmse"] < 0.003
    assert deviation.shape == mean.shape
    assert (deviation > 0).all()


def test_uncertainty_is_larger_away_from_the_data(measured):
    space, table, costs = measured
    small = sorted(table, key=lambda s: table[s]["macs"])[:100]
    predictor = Predictor(space, costs=list(costs.values())).fit(small, [table[s]["acc"] for s in small])
    large = sorted(table, key=lambda s: table[s]["macs"])[-100:]
    assert predictor.predict(large)[1].mean() > 1.5 * predictor.predict(small)[1].mean()


def test_the_report_is_cross_validated(measured):
    space, table, costs = measured
    few = list(table)[:150]
    report = k_fold_report(
        lambda: Predictor(space, "ridge", list(costs.values()), 1), few, [table[s]["acc"] for s in few]
    )
    assert 0.85 < report["kendall_tau"] < 0.97
    assert report["sparse_kendall_tau"] >= report["kendall_tau"]
    assert 0 <= report["top_k_regret"] < 0.01


def test_bad_predictors_are_refused(measured):
    with pytest.raises(WsnError, match="ridge, gradient_boosting, mlp, gaussian_process"):
        Predictor(measured[0], "oracle")
    with pytest.raises(WsnError, match="three evaluated subnets"):
        Predictor(measured[0]).fit([measured[0].max()], [1.0])


def test_predictions_find_the_front_sooner_than_chance(measured):
    space, table, costs = measured
    reference = {"macs": 520e6, "acc": 0.70}

    def volume(strategy, seed):
        problem = TableProblem(
            space, table, {"macs": costs["macs"]}, {"macs": "min", "acc": "max"}, evaluations=64, seed=seed
        )
        with pytest.raises(Spent):
            strategy.run(problem)
        assert len(problem.rows) == 64
        return Front(problem.rows.values()).hypervolume(reference)

    best = Front(table.values()).hypervolume(reference)
    assisted = [volume(PredictorAssisted(population=24, generations=4), seed) / best for seed in range(2)]
    chance = [volume(RandomSearch(8), seed) / best for seed in range(2)]
    assert min(assisted) > max(chance)
    assert max(assisted) <= 1


# -- measures, against their definitions --------------------------------------------------------------------


def test_pairwise_accuracy_and_tau_by_counting():
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(size=30), rng.normal(size=30)
    pairs = list(combinations(range(30), 2))
    right = sum((predicted[i] - predicted[j]) * (true[i] - true[j]) > 0 for i, j in pairs)
    assert pairwise_accuracy(predicted, true) == pytest.approx(right / len(pairs))
    assert kendall_tau(predicted, true) == pytest.approx(2 * right / len(pairs) - 1)


def test_sparse_tau_forgives_swaps_within_a_bin():
    true = [0.7001, 0.7004, 0.7102, 0.7109, 0.7301]
    assert sparse_kendall_tau([2, 1, 4, 3, 5], true, 1e-2) == pytest.approx(1)
    assert kendall_tau([2, 1, 4, 3, 5], true) < 1
    assert sparse_kendall_tau([5, 4, 3, 2, 1], true, 1e-2) < 0
    assert sparse_kendall_tau([1, 2, 3], [0.28, 0.29, 0.3], 0.01) == pytest.approx(1)
    assert sparse_kendall_tau([1, 3, 2], [0.28, 0.29, 0.3], 0.01) < 1  # 0.29 / 0.01 is not 28
    assert sparse_kendall_tau([1, 3, 2], [0.1, 0.2, 0.3], 0) == kendall_tau([1, 3, 2], [0.1, 0.2, 0.3])


def test_regret_is_what_the_best_pick_lacks():
    assert top_k_regret([1, 2, 3], [0.9, 0.5, 0.6], k=1) == pytest.approx(0.3)
    assert top_k_regret([1, 2, 3], [0.9, 0.5, 0.6], k=3) == 0


def test_top_n_rank_by_sorting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        predicted, true = rng.random(9), rng.random(9)
        best = max(sorted(range(9), key=lambda i: -predicted[i])[:3], key=lambda i: true[i])
        assert top_n_rank(predicted, true, 3) == sorted(true, reverse=True).index(true[best]) + 1
    assert top_n_rank([1, 2, 3], [0.1, 0.2, 0.3], 1) == 1


def test_surpassing_random_by_enumeration():
    rng = np.random.default_rng(1)
    for _ in range(20):
        predicted, true = rng.random(7), rng.random(7)
        best = sorted(true, reverse=True)[top_n_rank(predicted, true, 3) - 1]
        draws = list(combinations(true, 3))
        assert surpasses_random(predicted, true, 3) == pytest.approx(np.mean([max(d) <= best for d in draws]))
    assert surpasses_random([1, 2, 3], [0.1, 0.2, 0.3], 1) == 1


def test_stability_of_rankings():
    assert stability([[1, 2, 3]]) is None
    assert stability([[1, 2, 3], [10, 20, 30]]) == pytest.approx(1)
    assert stability([[1, 2, 3], [3, 2, 1]]) == pytest.approx(-1)
    rankings = np.random.default_rng(2).random((4, 6))
    taus = [kendall_tau(rankings[i], rankings[j]) for i in range(4) for j in range(i)]
    assert stability(rankings) == pytest.approx(np.mean(taus))
