"""Pareto fronts of evaluated subnets."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from wsn.errors import WsnError, listed
from wsn.files import Row, read_csv, write_atomically, write_csv

OBJECTIVES: Mapping[str, str] = {"macs": "min", "acc": "max"}


class Front:
    """The non-dominated rows among evaluated subnets.

    A row dominates another if it is no worse in every objective and better in one. Of rows with equal
    objectives the first is kept. Rows are ascending in the first objective.

    Args:
        rows: records of subnets, each with at least the objectives' keys.
        objectives: key → ``min`` or ``max``, two or more.

    Raises:
        WsnError: an unknown direction, or a row without a finite value of an objective.

    >>> rows = [{"id": "a", "macs": 1, "acc": 0.5}, {"id": "b", "macs": 2, "acc": 0.4}]
    >>> [row["id"] for row in Front(rows)]
    ['a']
    """

    def __init__(self, rows: Iterable[Row], objectives: Mapping[str, str] = OBJECTIVES):
        self.objectives = dict(objectives)
        bad = [d for d in self.objectives.values() if d not in ("min", "max")]
        if bad or len(self.objectives) < 2:
            raise WsnError(f"A front needs two objectives or more, each min or max. Received {self.objectives}")
        rows = list(rows)
        points = np.array([self._point(row) for row in rows]).reshape(len(rows), len(self.objectives))
        chosen = [rows[i] for i in np.flatnonzero(non_dominated(points))]
        unique = {tuple(self._point(row)): row for row in reversed(chosen)}
        self.rows = [unique[point] for point in sorted(unique)]

    def _point(self, row: Row) -> list[float]:
        """Return the objectives of a row as values to minimise."""
        point = []
        for name, direction in self.objectives.items():
            value = row.get(name)
            if value is None or not np.isfinite(value):
                raise WsnError(f"The subnet {row.get('id', row)} has no {name}: received {value!r}")
            point.append(float(value) if direction == "min" else -float(value))
        return point

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, row: object) -> bool:
        """Tell whether a row's objectives are those of a member."""
        return isinstance(row, dict) and self._point(row) in [self._point(member) for member in self.rows]

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the volume that the front dominates, up to a reference point.

        Args:
            reference: objective → worst value that counts; rows beyond it add nothing.

        Source: Zitzler & Thiele 1999; computed exactly, by slicing along one objective after another.
        """
        missing = [name for name in self.objectives if name not in reference]
        if missing:
            raise WsnError(f"The reference point needs {listed(self.objectives)}. Missing: {listed(missing)}")
        corner = np.array(self._point(dict(reference)))
        points = np.array([self._point(row) for row in self.rows]).reshape(len(self.rows), len(corner))
        return _volume(points[(points < corner).all(axis=1)], corner)

    def best(self, **limits: float) -> Row:
        """Return the row that is best in the last objective within limits of others.

        Args:
            **limits: key → largest allowed value, e.g. ``macs=300e6``.

        Raises:
            WsnError: no row is within the limits; the text says what the smallest one has.
        """
        allowed = [row for row in self.rows if all(row[k] <= limit for k, limit in limits.items())]
        if not allowed:
            least = {key: min((row[key] for row in self.rows), default=None) for key in limits}
            raise WsnError(f"No subnet within {limits}; the smallest values on this front are {least}")
        name, direction = list(self.objectives.items())[-1]
        return (max if direction == "max" else min)(allowed, key=lambda row: row[name])

    def merge(self, other: "Front") -> "Front":
        """Return the front of both."""
        return Front([*self.rows, *other.rows], self.objectives)

    def to_json(self, path: str | Path) -> None:
        """Write objectives and rows."""
        text = json.dumps({"objectives": self.objectives, "rows": self.rows}, indent=1)
        write_atomically(path, text)

    @classmethod
    def from_json(cls, path: str | Path) -> "Front":
        """Read what :meth:`to_json` wrote.

        Raises:
            WsnError: the file is missing or not a front.
        """
        try:
            data = json.loads(Path(path).read_text("utf-8"))
            return cls(data["rows"], data["objectives"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WsnError(f"Cannot read the front {path}: {type(error).__name__}: {error}") from error

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as a table."""
        write_csv(path, self.rows)

    @classmethod
    def from_csv(cls, path: str | Path, objectives: Mapping[str, str] = OBJECTIVES) -> "Front":
        """Read rows from a table.

        Raises:
            WsnError: the file is missing, or lacks an objective.
        """
        return cls(read_csv(path), objectives)


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Return which points no other dominates.

    Args:
        points: (n, k), all objectives to be minimised.

    Returns:
        mask (n,); points that are equal are all in or all out.
    """
    count, dimensions = points.shape
    if dimensions == 2 and count:
        order = np.lexsort((points[:, 1], points[:, 0]))
        first, second = points[order].T
        best = np.minimum.accumulate(second)
        # Dominated: an earlier point is better in the second, or as good there and strictly better in the first.
        before = np.concatenate([[np.inf], best[:-1]])
        kept = second < before
        same = np.concatenate([[False], (first[1:] == first[:-1]) & (second[1:] == second[:-1])])
        for repeated in np.flatnonzero(same):
            kept[repeated] = kept[repeated - 1]
        mask = np.zeros(count, dtype=bool)
        mask[order] = kept
        return mask
    mask = np.ones(count, dtype=bool)
    for i in range(count):
        worse = (points <= points[i]).all(axis=1) & (points < points[i]).any(axis=1)
        mask[i] = not worse.any()
    return mask


def _volume(points: np.ndarray, corner: np.ndarray) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    order = np.argsort(points[:, 0], kind="stable")
    points = points[order]
    edges = np.append(points[1:, 0], corner[0])
    widths = edges - points[:, 0]
    return float(sum(w * _volume(points[: i + 1, 1:], corner[1:]) for i, w in enumerate(widths) if w > 0))
