"""Predicting what a subnet is worth from others that were evaluated."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor

from wsn.errors import WsnError, listed
from wsn.search.ranking import kendall_tau, pairwise_accuracy, sparse_kendall_tau, top_k_regret
from wsn.space import SearchSpace, Subnet

CostOf = Callable[[Subnet], float]


def _ridge(seed: int) -> Any:
    return RidgeCV(np.logspace(-2, 3, 11))


def _gradient_boosting(seed: int) -> Any:
    return GradientBoostingRegressor(
        n_estimators=300, max_depth=3, learning_rate=0.05, subsample=0.5, max_features=0.3, random_state=seed
    )


def _mlp(seed: int) -> Any:
    return MLPRegressor(
        hidden_layer_sizes=(64, 64), activation="tanh", solver="lbfgs", alpha=3.0, max_iter=400, random_state=seed
    )


def _gaussian_process(seed: int) -> Any:
    kernel = ConstantKernel() * RBF(5.0) + WhiteKernel(1e-2)
    return GaussianProcessRegressor(kernel, normalize_y=False, random_state=seed)


MODELS: Mapping[str, Callable[[int], Any]] = {
    "ridge": _ridge,
    "gradient_boosting": _gradient_boosting,
    "mlp": _mlp,
    "gaussian_process": _gaussian_process,
}


class Predictor:
    """Predicts a metric of subnets, with an uncertainty: an ensemble of regressors of scikit-learn.

    Features are the one-hot encoding of the choices, and the logarithms of exact costs, which are known for every
    subnet and say most of what depth and width do.

    Args:
        space: space that the subnets are members of.
        model: ``ridge``, ``gradient_boosting``, ``mlp`` or ``gaussian_process``.
        costs: functions of a subnet, e.g. its MACs and parameters; none: choices alone.
        members: of the ensemble, each on a bootstrap sample (a Gaussian process has its own uncertainty).
        seed: of initialisation and sampling.

    Raises:
        WsnError: an unknown model, or fewer than three subnets to learn from.

    >>> from wsn.space.dimension import Dimension
    >>> space = SearchSpace([Dimension("width", [1, 2, 3, 4])])
    >>> subnets = [space.subnet(width=w) for w in (1, 2, 3, 4)]
    >>> predictor = Predictor(space, "ridge").fit(subnets, [0.1, 0.2, 0.3, 0.4])
    >>> mean, deviation = predictor.predict(subnets)
    >>> bool(mean[0] < mean[3])
    True
    """

    def __init__(
        self,
        space: SearchSpace,
        model: str = "gaussian_process",
        costs: Sequence[CostOf] = (),
        members: int = 5,
        seed: int = 0,
    ):
        if model not in MODELS:
            raise WsnError(f"predictor must be one of {listed(MODELS)}. Received {model!r}")
        self.space = space
        self.model = model
        self.costs = list(costs)
        self.members = 1 if model == "gaussian_process" else max(1, members)
        self.seed = seed

    def fit(self, subnets: Sequence[Subnet], values: Sequence[float]) -> "Predictor":
        """Learn from evaluated subnets."""
        if len(subnets) < 3:
            raise WsnError(f"A predictor needs three evaluated subnets or more. Received {len(subnets)}")
        raw = self._raw(subnets)
        self._mean, self._scale = raw.mean(0), raw.std(0)
        # One-hot columns keep their scale; costs count as much as some thirty choices do.
        hot = raw.shape[1] - len(self.costs)
        self._scale[:hot] = 1.0
        self._scale[hot:] = np.where(self._scale[hot:] > 0, self._scale[hot:] / 3, 1.0)
        x, y = self._features(raw), np.asarray(values, dtype=float)
        self._centre, self._spread = y.mean(), y.std() or 1.0
        y = (y - self._centre) / self._spread
        rng = np.random.default_rng(self.seed)
        self._fitted = []
        for i in range(self.members):
            rows = np.arange(len(y)) if i == 0 else rng.integers(0, len(y), len(y))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._fitted.append(MODELS[self.model](self.seed + i).fit(x[rows], y[rows]))
        return self

    def predict(self, subnets: Sequence[Subnet]) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the prediction, each (n,)."""
        x = self._features(self._raw(subnets))
        if self.model == "gaussian_process":
            mean, deviation = self._fitted[0].predict(x, return_std=True)
        else:
            predicted = np.array([m.predict(x) for m in self._fitted])
            mean, deviation = predicted.mean(0), predicted.std(0)
        return mean * self._spread + self._centre, deviation * self._spread

    def _raw(self, subnets: Sequence[Subnet]) -> np.ndarray:
        return np.array([self._row(s) for s in subnets], dtype=float)

    def _row(self, subnet: Subnet) -> list[float]:
        return [*self.space.encode(subnet), *(float(np.log(max(cost(subnet), 1e-12))) for cost in self.costs)]

    def _features(self, raw: np.ndarray) -> np.ndarray:
        return (raw - self._mean) / self._scale


def k_fold_report(
    new: Callable[[], Predictor],
    subnets: Sequence[Subnet],
    values: Sequence[float],
    folds: int = 5,
    top_k: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """Cross-validate a predictor: every subnet is predicted by one that has not seen it.

    Returns:
        ``kendall_tau``, ``sparse_kendall_tau`` (0.1 % bins of values in [0, 1]), ``pairwise_accuracy``, ``rmse`` and
        ``top_k_regret``, each the mean over folds.
    """
    found: list[dict[str, float]] = []
    y = np.asarray(values, dtype=float)
    for train, test in KFold(min(folds, len(subnets)), shuffle=True, random_state=seed).split(y):
        predictor = new().fit([subnets[i] for i in train], y[train])
        mean, _ = predictor.predict([subnets[i] for i in test])
        found.append(scores(mean, y[test], top_k))
    return {key: float(np.mean([f[key] for f in found])) for key in found[0]}


def scores(predicted: Any, true: Any, top_k: int = 10) -> dict[str, float]:
    """Return how good predictions are: rank correlations, error, and what is lost by trusting them."""
    return {
        "kendall_tau": kendall_tau(predicted, true),
        "sparse_kendall_tau": sparse_kendall_tau(predicted, true),
        "pairwise_accuracy": pairwise_accuracy(predicted, true),
        "rmse": float(np.sqrt(np.mean((np.asarray(predicted) - np.asarray(true)) ** 2))),
        "top_k_regret": top_k_regret(predicted, true, top_k),
    }
