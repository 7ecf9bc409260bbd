"""Search and predictors on 1,000 measured subnets of OFA-MobileNetV3: hypervolume, and rank correlations.

python benchmarks/search.py predictors
python benchmarks/search.py search --seeds 10
"""

import argparse
import json
from pathlib import Path

import numpy as np

import wsn
from wsn.evaluation.pareto import Front
from wsn.search.linas import PredictorAssisted
from wsn.search.nsga import NSGA
from wsn.search.predictors import MODELS, Predictor, scores
from wsn.search.problem import Spent
from wsn.search.ranking import kendall_tau
from wsn.search.strategies import CoarseToFine, Evolution, LocalSearch, RandomSearch
from wsn.search.table import TableProblem

TABLE = Path(__file__).parents[1] / "tests" / "assets" / "ofa_mbv3_w1.0_measured.json"
REFERENCE = {"macs": 520e6, "acc": 0.70}
STRATEGIES = {
    "random": lambda: RandomSearch(batch=8),
    "aging evolution": lambda: Evolution(population=24, aging=True),
    "NSGA-II": lambda: NSGA(population=24),
    "NSGA-III": lambda: NSGA(population=24, variant=3),
    "local": LocalSearch,
    "coarse to fine": CoarseToFine,
    "predictor-assisted": PredictorAssisted,
}


def measured():
    """Return the supernet, and subnet → row, accuracy in [0, 1]."""
    net = wsn.create_supernet("mobilenet")
    rows = json.loads(TABLE.read_text())["rows"]
    table = {}
    for r in rows:
        subnet = net.space.subnet(kernel=r["ks"], expand=r["e"], depth=r["d"], resolution=r["r"])
        table[subnet] = {"id": subnet.id, "macs": r["macs"], "acc": float(np.mean(r["top1"])) / 100}
    return net, table


def predictors(seeds, rows):
    net, table = measured()
    subnets, acc = list(table), np.array([row["acc"] for row in table.values()])
    costs = [lambda s: wsn.cost(net, s).macs, lambda s: wsn.cost(net, s).params]
    print(f"MACs alone: tau {kendall_tau([wsn.cost(net, s).macs for s in subnets], acc):.3f}")
    print("| predictor | trained on | Kendall tau | sparse tau | RMSE (%) | top-10 regret (%) |")
    print("|---|---|---|---|---|---|")
    for model in MODELS:
        for count in rows:
            found = []
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(subnets))
                train, test = order[:count], order[count:]
                predictor = Predictor(net.space, model, costs).fit([subnets[i] for i in train], acc[train])
                found.append(scores(predictor.predict([subnets[i] for i in test])[0], acc[test]))
            mean = {key: np.mean([f[key] for f in found]) for key in found[0]}
            print(
                f"| {model} | {count} | {mean['kendall_tau']:.3f} | {mean['sparse_kendall_tau']:.3f} | "
                f"{100 * mean['rmse']:.3f} | {100 * mean['top_k_regret']:.3f} |",
                flush=True,
            )


def search(seeds, evaluations, names):
    net, table = measured()
    costs = {"macs": lambda s: wsn.cost(net, s).macs}
    best = Front(table.values()).hypervolume(REFERENCE)
    print("| strategy | " + " | ".join(f"after {n}" for n in evaluations) + " |\n|---|" + "---|" * len(evaluations))
    for name in names:
        found = np.zeros((seeds, len(evaluations)))
        for seed in range(seeds):
            problem = TableProblem(
                net.space, table, costs, {"macs": "min", "acc": "max"}, evaluations=max(evaluations), seed=seed
            )
            try:
                STRATEGIES[name]().run(problem)
            except Spent:
                rows = list(problem.rows.values())
            found[seed] = [Front(rows[:n]).hypervolume(REFERENCE) / best for n in evaluations]
        cells = (f"{100 * m:.2f} ± {100 * s:.2f}" for m, s in zip(found.mean(0), found.std(0)))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"in percent of the hypervolume of all {len(table)} rows, {best / 1e6:.3f}e6 MACs x accuracy")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["predictors", "search"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    arguments = parser.parse_args()
    if arguments.what == "predictors":
        predictors(arguments.seeds, (100, 200, 500))
    else:
        search(arguments.seeds, (50, 100, 200), arguments.strategies)
