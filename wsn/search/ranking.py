"""Measures of a ranking of subnets: rank correlations and regret.

Source: sparse Kendall τ and the probability to surpass random search, Yu et al. 2020, "How to Train Your Super-Net",
arXiv:2003.04276, §3.2 (and its released code); stability and top-n rank, Zhang et al. 2020, "Deeper Insights into
Weight Sharing in Neural Architecture Search", arXiv:2001.01431, §3 (S-Tau, GT-Tau, TnR).
"""

import math
from collections.abc import Sequence
from itertools import combinations

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


def top_n_rank(predicted: Sequence[float], true: Sequence[float], n: int = 5) -> int:
    """Return the true rank of the best of the predicted top ``n``: 1 is the best of all (TnR).

    >>> top_n_rank([4, 3, 2, 1], [0.1, 0.3, 0.4, 0.2], n=2)
    2
    """
    values = np.asarray(true, dtype=float)
    chosen = np.argsort(-np.asarray(predicted), kind="stable")[:n]
    return int((values > values[chosen].max()).sum()) + 1


def surpasses_random(predicted: Sequence[float], true: Sequence[float], n: int = 5) -> float:
    """Return the probability that ``n`` random ones are all no better than the best of the predicted top ``n``.

    Random ones are drawn without replacement. Differs from the released code, :math:`(r / r_{max})^n`, which draws with
    replacement and takes r from the ranks in ascending order.

    >>> round(surpasses_random([4, 3, 2, 1], [0.1, 0.3, 0.4, 0.2], n=2), 3)
    0.5
    """
    n = min(n, len(true))
    no_better = len(true) - top_n_rank(predicted, true, n) + 1
    return math.comb(no_better, n) / math.comb(len(true), n)


def stability(rankings: Sequence[Sequence[float]]) -> float | None:
    """Return the mean Kendall τ over all pairs of rankings of the same things (S-Tau); None of fewer than two.

    >>> stability([[1, 2, 3], [1, 2, 3], [3, 2, 1]])
    -0.3333333333333333
    """
    pairs = [kendall_tau(a, b) for a, b in combinations(rankings, 2)]
    return float(np.mean(pairs)) if pairs else None
