"""Run folders without training: the files that train.py leaves, with made-up figures."""

import hashlib
import json
import os
import random

import yaml

from wsn.files import write_csv

METHODS = (
    "ofa", "compofa", "bignas", "alphanet", "attentive_nas", "deps", "us_net", "slimmable", "sortednet", "spos",
    "fairnas", "pa_da",
)  # fmt: skip


def arch_of(rng, size):
    """Draw a MobileNet's choices; ``size`` in [0, 1] moves them from the smallest to the largest."""
    depth = [pick(rng, (2, 3, 4), size) for _ in range(5)]
    kept = [block < depth[stage] for stage in range(5) for block in range(4)]
    return {
        "depth": depth,
        "kernel": [pick(rng, (3, 5, 7), size) if k else None for k in kept],
        "expand": [pick(rng, (3, 4, 6), size) if k else None for k in kept],
        "resolution": pick(rng, (20, 24, 28), size),
    }


def pick(rng, choices, size):
    return choices[sum(rng.random() < size for _ in choices[1:])]


def costs_of(arch):
    """Return MACs and parameters that grow with every choice."""
    work = sum(e * (8 + k * k / 6) for e, k in zip(arch["expand"], arch["kernel"]) if e)
    return int(2.2e4 * work * (arch["resolution"] / 28) ** 2), int(900 * work)


def make_panel(count, seed=0):
    """Return smallest, middle, largest and random subnets as (kind, arch)."""
    rng = random.Random(seed)
    panel = [("smallest", arch_of(rng, 0)), ("middle", arch_of(random.Random(1), 0.5)), ("largest", arch_of(rng, 1))]
    while len(panel) < count:
        panel.append(("random", arch_of(rng, rng.random())))
    return panel[:count]


def row_of(kind, arch, split, quality, latency=None):
    """Return a row of subnets.csv; ``quality`` is a dictionary of metrics."""
    text = json.dumps(arch, separators=(",", ":"))
    macs, params = costs_of(arch)
    return {
        "id": hashlib.sha256(text.encode()).hexdigest()[:10], "kind": kind, "split": split, "phase": "all", "epoch": 9,
        "step": 900, "macs": macs, "params": params, "latency_ms": latency, **quality, "arch": text, "on_front": False,
    }  # fmt: skip


def config_of(method, seed, folder, **more):
    phase = {"_target_": "wsn.schedule.Phase", "name": "all", "roles": ["max", "random"], "epochs": 10, "lr": 0.03}
    random_role = {"labels": 0.0 if method == "bignas" else 1.0, "target": f"teacher of {method}"}
    return {
        "seed": seed,
        "tags": [],
        "budget_gmacs": 120,
        "paths": {"output_dir": "outputs", "run_dir": str(folder)},
        "data": {"name": "fashion_mnist_small", "batch_size": 32, "image_size": 28, "seed": 0},
        "backbone": {"name": "mobilenet", "width_mult": 0.35, "depth": [2, 3, 4], "kernel": [3, 5, 7],
                     "expand": [3, 4, 6], "resolution": [20, 24, 28]},
        "optim": {"lr": 0.03, "weight_decay": 3e-5, "clip_norm": None},
        "callbacks": {"checkpoint": {"folder": f"{folder}/checkpoints", "every_n_steps": 50}},
        "method": {"name": method, "aggregation": "mean" if method == "deps" else "sum", "label_smoothing": 0.1,
                   "losses": {"random": random_role},
                   "phases": [phase, {**phase, "name": f"second of {method}"}]},
        **more,
    }  # fmt: skip


def write_run(folder, config, rows, gmacs=120.0, seconds=90.0):
    """Write a finished run; ``rows`` are those of subnets.csv."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    start = (folder / "config.yaml").stat().st_mtime
    os.utime(folder / "checkpoints" / "last.ckpt", (start + seconds, start + seconds))
    write_csv(folder / "subnets.csv", rows)
    steps = [{"step": 10 * i, "train/loss": 2.0 / (i + 1), "train/gmacs_spent": gmacs * i / 100} for i in range(101)]
    write_csv(folder / "metrics.csv", [*steps, {"step": 1000, "pareto/hypervolume": 0.5}])


def accuracy(macs, skill, noise):
    """Return an accuracy that grows with the logarithm of the cost, as those of supernets do."""
    share = min(1.0, max(0.0, (macs / 1e6 - 3) / 45)) ** 0.4
    return min(0.99, max(0.05, 0.45 + 0.4 * skill + (0.25 - 0.2 * skill) * share + noise))


def write_sweep(root, methods=METHODS, seeds=3, subnets=12, alone=5, own_panels=False, seconds=90.0):
    """Write a sweep: every method at every seed, and a few subnets of the panel trained alone (``method=plain``)."""
    rng = random.Random(0)
    for m, method in enumerate(methods):
        skill = 0.9 - 0.07 * (m % 12)
        for seed in range(seeds):
            folder, shift = root / f"{method}_{seed}", rng.gauss(0, 0.012)
            rows = [
                row_of(kind, arch, split, metrics(costs_of(arch)[0], skill, shift + rng.gauss(0, 0.012)))
                for split in ("val", "test")
                for kind, arch in make_panel(subnets, seed=1000 * m + seed if own_panels else 0)
            ]
            write_run(folder, config_of(method, seed, folder), rows, 95 + rng.random() * 25, seconds + 9 * m + seed)
    for n, (_, arch) in enumerate(make_panel(alone)):
        for seed in range(min(seeds, 3)):
            folder = root / f"plain_{n}_{seed}"
            rows = [row_of("alone", arch, "test", metrics(costs_of(arch)[0], 1.05, rng.gauss(0, 0.01)))]
            write_run(folder, config_of("plain", seed, folder), rows)


def metrics(macs, skill, noise):
    acc = accuracy(macs, skill, noise)
    return {"acc": acc, "acc5": min(1.0, acc + 0.1), "loss": 2 - 1.5 * acc}
