"""Evaluating subnets together against one by one: time, parts that are computed, and whether the results are equal.

python benchmarks/shared_prefixes.py outputs/first            # generations of its NSGA-II search, and depths alone
python benchmarks/shared_prefixes.py outputs/soft-llama       # a language model: its depths

Both ways take turns; the ratio is the median of a few.
"""

import argparse
import statistics
import time
from pathlib import Path
from random import Random

from wsn.files import read_csv
from wsn.run.evaluator import Evaluator
from wsn.run.run import open_run


def timed(run):
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def compare(name, evaluator, subnets, repeats):
    """Print the ratio of the times, taken in turns, and tell whether all metrics are equal."""
    ratios, equal = [], True
    for _ in range(repeats):
        alone, t_alone = timed(lambda: [evaluator.rows([s])[0] for s in subnets])
        together, t_together = timed(lambda: evaluator.rows(subnets))
        ratios.append(t_alone / t_together)
        equal = equal and alone == together
    print(f"| {name} | {len(subnets)} | {statistics.median(ratios):.2f} | {'yes' if equal else 'NO'} |", flush=True)


def depths(space, count):
    """Return subnets of largest blocks whose depths alone differ."""
    rng = Random(0)
    if "layers" in space.dimensions:
        layers = len(space.dimensions["layers"])
        return [space.subnet(layers=list(range(n))) for n in range(1, layers + 1)]
    choices = space.dimensions["depth"].choices
    found = {space.subnet(depth=[rng.choice(c) for c in choices]) for _ in range(10 * count)}
    return sorted(found, key=lambda s: s.id)[:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    evaluator = Evaluator(open_run(options.run))
    evaluator.rows([evaluator.net.space.min()])  # warm up: data, calibration images
    space = evaluator.net.space
    print("| subnets | number | times faster | equal results |\n|---|---|---|---|")
    for path in sorted(Path(options.run).glob("search/nsga2*/evaluations.csv")):
        rows = read_csv(path)
        for first in range(0, len(rows) - 15, 24):
            group = [space.find(r["arch"]) for r in rows[first : first + 16]]
            compare(f"NSGA-II, generation {first // 24}", evaluator, group, options.repeats)
    compare("depths alone", evaluator, depths(space, 16), options.repeats)


if __name__ == "__main__":
    main()
