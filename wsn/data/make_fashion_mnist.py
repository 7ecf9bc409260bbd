"""Make the packaged subsets: ``python -m wsn.data.make_fashion_mnist FOLDER`` (the four idx .gz files).

``fashion_mnist_small.npz`` has 10,000 training and 2,000 test images, balanced over the classes;
``fashion_mnist_more.npz`` what ``fashion_mnist_medium`` has beside them: 5,000 training images, balanced, and the rest
of the test images.
"""

import sys
from pathlib import Path

import numpy as np

from wsn.data.fashion_mnist import MORE, SMALL, read_idx


def choose(labels: np.ndarray, per_class: int, seed: int, but: np.ndarray | None = None) -> np.ndarray:
    """Return shuffled indices (10 · per_class,) with ``per_class`` images of each class, none of those in ``but``."""
    rng = np.random.default_rng(seed)
    left = np.ones(len(labels), bool)
    left[[] if but is None else but] = False
    chosen = [rng.choice(np.flatnonzero((labels == c) & left), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(chosen))


def main(folder: str) -> None:
    """Write both files."""
    small, more = {}, {}
    for split, prefix, per_class, further in (("train", "train", 1000, 500), ("test", "t10k", 200, 800)):
        images, labels = read_idx(Path(folder), prefix)
        first = choose(labels, per_class, seed=0)
        rest = choose(labels, further, seed=1, but=first)
        small[f"{split}_images"], small[f"{split}_labels"] = images[first], labels[first]
        more[f"{split}_images"], more[f"{split}_labels"] = images[rest], labels[rest]
    np.savez_compressed(SMALL, **small)
    np.savez_compressed(MORE, **more)


if __name__ == "__main__":
    main(sys.argv[1])
