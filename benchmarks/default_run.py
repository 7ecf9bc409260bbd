"""The default run against its members trained alone: ``python benchmarks/default_run.py SWEEPS``.

``SWEEPS`` is the folder of the sweeps that ``sweeps/default_run.sh`` makes. For the smallest, middle and largest
subnet, the supernet of each seed and the same subnet trained alone with that seed, for as many optimizer steps,
classify the same test images; alone has the best of its learning rates, chosen with the first seed on these images,
which favours it. The interval is over images: 1.96 standard errors of the per-image difference, averaged over seeds.
Writes ``paired.csv``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

import wsn
from wsn.evaluation.evaluate import measure
from wsn.files import write_csv
from wsn.run.evaluator import Evaluator

SIZES = ("smallest", "middle", "largest")


class Right:
    """Whether each image was classified right, in the order of the test set."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def to(self, _: Any) -> "Right":
        """Stay: the results are on the CPU."""
        return self

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (N, classes) and labels (N,)."""
        self.parts.append((logits.argmax(1) == labels).cpu().numpy())

    def results(self) -> dict[str, Any]:
        """Return them all, shape (images,)."""
        return {"right": np.concatenate(self.parts).astype(float)}


def right(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return name → whether each test image was classified right by that subnet of a run."""
    run = wsn.open_run(folder)
    evaluator = Evaluator(run, "test")
    subnets = [run.find(name) for name in names]
    found = measure(run.net, evaluator.views(subnets), subnets, evaluator.batches(), Right)  # type: ignore[arg-type]
    return {name: f["right"] for name, f in zip(names, found)}  # type: ignore[misc]


def paired(supernets: dict[int, np.ndarray], alone: dict[str, dict[int, np.ndarray]]) -> dict[str, Any]:
    """Compare a size: seed → right of the supernet's subnet, and rate → seed → right of the same one alone."""
    common = set.intersection(*(set(seeds) for seeds in alone.values()))
    rate = max(alone, key=lambda r: fmean(alone[r][s].mean() for s in common))
    seeds = sorted(supernets.keys() & alone[rate].keys())
    per_image = np.mean([supernets[s] - alone[rate][s] for s in seeds], axis=0)
    gaps = [100 * float((supernets[s] - alone[rate][s]).mean()) for s in seeds]
    return {
        "supernet": round(100 * fmean(supernets[s].mean() for s in seeds), 2),
        "alone": round(100 * fmean(alone[rate][s].mean() for s in seeds), 2),
        "alone_lr": rate,
        "gap": round(fmean(gaps), 2),
        "interval": round(196 * float(per_image.std(ddof=1)) / len(per_image) ** 0.5, 2),
        "gaps_of_seeds": " ".join(f"{gap:+.2f}" for gap in gaps),
        "seeds": len(seeds),
        "images": len(per_image),
    }


def main(sweeps: Path, out: Path) -> None:
    """Compare and write the table."""
    supernets: dict[str, dict[int, np.ndarray]] = {size: {} for size in SIZES}
    alone: dict[str, dict[str, dict[int, np.ndarray]]] = {size: {} for size in SIZES}
    for folder in sorted(p.parent for p in sweeps.glob("default_run*/*/job.json")):
        if not (folder / "checkpoints" / "last.ckpt").exists():
            continue
        config = wsn.open_run(folder).config
        if config.method.name == "plain":
            size = config.method.subnet
            alone[size].setdefault(str(config.optim.lr), {})[config.seed] = right(folder, ["largest"])["largest"]
        else:
            for size, values in right(folder, SIZES).items():
                supernets[size][config.seed] = values
    rows = [{"size": size, **paired(supernets[size], alone[size])} for size in SIZES if alone[size]]
    write_csv(out, rows)
    for row in rows:
        print(
            f"{row['size']:9}: supernet {row['supernet']} %, alone {row['alone']} % (lr {row['alone_lr']}); gap "
            f"{row['gap']:+.2f} ± {row['interval']:.2f} points of {row['images']} images; seeds {row['gaps_of_seeds']}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", type=Path, nargs="?", default=Path("outputs/sweeps"))
    parser.add_argument("--out", type=Path, default=Path("docs/data/default_run/paired.csv"))
    arguments = parser.parse_args()
    main(arguments.sweeps, arguments.out)
