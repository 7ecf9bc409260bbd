"""Make the packaged subset: ``python -m wsn.data.make_fashion_mnist_small FOLDER`` (the four idx .gz files)."""

import sys
from pathlib import Path

import numpy as np

from wsn.data.fashion_mnist import read_idx

PACKAGED = Path(__file__).parent / "assets" / "fashion_mnist_small.npz"


def choose(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Return shuffled indices (10 · per_class,) with ``per_class`` images of each class."""
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(chosen))


def main(folder: str) -> None:
    """Write 10,000 training and 2,000 test images, balanced over the classes."""
    arrays = {}
    for split, prefix, per_class in (("train", "train", 1000), ("test", "t10k", 200)):
        images, labels = read_idx(Path(folder), prefix)
        chosen = choose(labels, per_class, seed=0)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[chosen], labels[chosen]
    np.savez_compressed(PACKAGED, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
