"""How good a ranking of subnets is: rank correlations and what is lost by trusting it.

Source: sparse Kendall τ, Yu et al. 2020, "How to Train Your Super-Net", arXiv:2003.04276, §3.2 (and its released code).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau


def kendall_tau(predicted: Sequence[float], true: Sequence[float]) -> float:
    """Return Kendall's τ-b of two rankings, in [-1, 1].

    >>> kendall_tau([1, 2, 3], [10, 20, 30])
    1.0
    """
    return float(kendalltau(predicted, true).statistic)


def sparse_kendall_tau(predicted: Sequence[float], true: Sequence[float], threshold: float = 1e-3) -> float:
    """Return Kendall's τ in which true values closer than a threshold are the same rank.

    Any predicted order that is right up to swaps within a bin has 1; for a threshold of 0 it is the plain τ.

    Args:
        predicted: values to rank by.
        true: accuracies in [0, 1].
        threshold: width of a bin.

    >>> round(sparse_kendall_tau([2, 1, 3], [0.5001, 0.5002, 0.7]), 3)
    1.0
    """
    if threshold <= 0:
        return kendall_tau(predicted, true)
    # A hair is added before rounding down: 0.29 / 0.01 is 28.999...
    bins = np.array([math.floor(value / threshold + 1e-9) for value in true])
    rank = {b: i for i, b in enumerate(sorted(set(bins)))}
    ranks = np.array([rank[b] for b in bins])
    return float(kendalltau(np.sort(ranks), ranks[np.argsort(np.asarray(predicted), kind="stable")]).statistic)


def top_k_regret(predicted: Sequence[float], true: Sequence[float], k: int = 10) -> float:
    """Return how much worse the best of the predicted top ``k`` is than the best of all (higher is better).

    >>> top_k_regret([3, 2, 1], [0.1, 0.2, 0.3], k=1)
    0.2
    """
    values = np.asarray(true, dtype=float)
    chosen = np.argsort(-np.asarray(predicted), kind="stable")[:k]
    return round(float(values.max() - values[chosen].max()), 12)


def pairwise_accuracy(predicted: Sequence[float], true: Sequence[float]) -> float:
    """Return the share of pairs with different true values that are predicted in the right order.

    >>> pairwise_accuracy([1, 2, 3], [1, 3, 2])
    0.6666666666666666
    """
    p, t = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    i, j = np.triu_indices(len(t), 1)
    differ = t[i] != t[j]
    return float(np.mean(np.sign(p[i] - p[j])[differ] == np.sign(t[i] - t[j])[differ]))
