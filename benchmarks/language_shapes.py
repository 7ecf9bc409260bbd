"""Speed and memory of the evaluated subnets of a language model's run, each extracted.

``python benchmarks/language_shapes.py RUN``. Tokens per second of a prompt and of generating one after another, the
bytes of weights and of the cache of keys and values. Ratios are to the largest subnet, which is measured beside each.
"""

import sys
from statistics import median

from wsn.cost_models.counted import KVCacheBytes, WeightBytes
from wsn.cost_models.latency import DecodeLatency, PrefillLatency
from wsn.files import read_csv
from wsn.run.run import open_run

ROUNDS = 3
PROMPT = 128
THREADS = 2


def main(run: str) -> None:
    """Print the table."""
    net = open_run(run).net
    rows = {row["id"]: row for row in read_csv(f"{run}/subnets.csv") if row["split"] == "test"}
    subnets = [net.space.find(row["arch"]) for row in sorted(rows.values(), key=lambda r: -r["params"])]
    models = {kind: kind(threads=THREADS, tokens=PROMPT) for kind in (PrefillLatency, DecodeLatency)}
    times: dict = {(kind, subnet): [] for kind in models for subnet in subnets}
    for _ in range(ROUNDS):
        for (kind, subnet), found in times.items():
            found.append(models[kind].measure(net, subnet).median_ms)
    print(
        "| shape | parameters (M) | prompt (tokens/s) | generation (tokens/s) | weights (MB) | KV cache of 1,024 (MB) |"
    )
    print("|---|---|---|---|---|---|")
    for subnet in subnets:
        speeds = []
        for kind, tokens in ((PrefillLatency, PROMPT), (DecodeLatency, 1)):
            ratio = median(a / b for a, b in zip(times[kind, subnets[0]], times[kind, subnet]))
            speeds.append(f"{tokens * 1000 / median(times[kind, subnet]):.0f} ({ratio:.2f} ×)")
        memory = [f"{cost(net, subnet) / 1e6:.0f}" for cost in (WeightBytes(), KVCacheBytes())]
        shape = f"{sum(map(bool, subnet['layers']))} layers, width {subnet['width']:g}"
        print(f"| {shape} | {rows[subnet.id]['params'] / 1e6:.1f} | {' | '.join(speeds + memory)} |")


if __name__ == "__main__":
    main(sys.argv[1])
