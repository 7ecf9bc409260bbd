"""What compared runs come to: by method, over seeds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from wsn.comparison.runs import Run
from wsn.comparison.statistics import Pair, deviation, front_of, hypervolume, pairwise, rank_correlation
from wsn.errors import WsnError
from wsn.quality import Quality

NAMED = ("smallest", "middle", "largest")
AXES = ("macs", "params", "latency_ms")
Key = tuple[str, int]  # id and MACs: the same choices in another backbone are another network


@dataclass(frozen=True)
class Alone:
    """A subnet trained alone: its costs, and its quality over the seeds."""

    kind: str
    macs: int
    params: int
    arch: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean quality over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None for one."""
        return deviation(self.values)


@dataclass
class Comparison:
    """Runs grouped by method, the best mean hypervolume first.

    ``groups`` has the runs of each label, ascending in the seed, and ``hypervolumes`` theirs; runs of ``method=plain``
    are in ``plain``. ``largest`` is the reference point's multiply-adds: those of the largest subnet of any run.

    Args:
        runs: to compare.
        skipped: folder → why it is left out.

    Raises:
        WsnError: runs of different tasks, or of no method but plain.
    """

    runs: Sequence[Run]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for what in ("quality", "data"):
            names = {run.quality.name if what == "quality" else run.data for run in self.runs}
            if len(names) > 1:
                raise WsnError(
                    f"These runs are of different tasks, measured by {' and '.join(sorted(map(str, names)))}; "
                    "compare them apart"
                )
        self.quality: Quality = self.runs[0].quality
        self._fronts: dict[tuple[str, str], list[int]] = {}
        self.plain = [run for run in self.runs if run.alone]
        groups: dict[str, list[Run]] = {}
        for run in sorted((r for r in self.runs if not r.alone), key=lambda r: (r.seed, r.folder)):
            groups.setdefault(run.label, []).append(run)
        if not groups:
            raise WsnError("Only runs of method=plain: there is no front to compare. Add runs of other methods")
        self.largest = max(max(run.subnets["macs"]) for group in groups.values() for run in group)
        volumes = {label: [self._hypervolume(run) for run in group] for label, group in groups.items()}
        order = sorted(groups, key=lambda label: (-statistics.fmean(volumes[label]), label))
        self.groups = {label: groups[label] for label in order}
        self.hypervolumes = {label: volumes[label] for label in order}

    def _hypervolume(self, run: Run) -> float:
        return hypervolume(run.subnets["macs"], run.subnets["quality"], self.quality, self.largest)

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Method → seeds of its runs."""
        return {label: [run.seed for run in group] for label, group in self.groups.items()}

    @cached_property
    def alone(self) -> dict[Key, Alone]:
        """Subnets that were trained alone, ascending in MACs."""
        found: dict[Key, list[tuple[Run, int]]] = {}
        for run in self.plain:
            for i, key in enumerate(keys(run)):
                found.setdefault(key, []).append((run, i))
        result = {}
        for key, places in sorted(found.items(), key=lambda item: item[0][1]):
            columns, i = places[0][0].subnets, places[0][1]
            values = tuple(run.subnets["quality"][j] for run, j in places)
            result[key] = Alone(columns["kind"][i], key[1], columns["params"][i], columns["arch"][i], values)
        return result

    def qualities(self, run: Run) -> dict[Key, float]:
        """Return the quality of those subnets of a run that were trained alone too."""
        return {key: q for key, q in zip(keys(run), run.subnets["quality"]) if key in self.alone}

    def gaps(self, label: str) -> dict[Key, list[float]]:
        """Return subnet → each run's quality less the mean of the same subnet trained alone."""
        gaps: dict[Key, list[float]] = {}
        for run in self.groups[label]:
            for key, value in self.qualities(run).items():
                gaps.setdefault(key, []).append(value - self.alone[key].mean)
        return gaps

    def correlations(self, label: str) -> list[tuple[float, float]]:
        """Return Kendall's τ-b and Spearman's ρ of each run's qualities with those of the subnets trained alone."""
        found = []
        for run in self.groups[label]:
            both = self.qualities(run)
            result = rank_correlation(list(both.values()), [self.alone[key].mean for key in both])
            found += [result] if result else []
        return found

    @cached_property
    def axes(self) -> list[str]:
        """The costs to draw against: latency where any run has it."""
        measured = any(v is not None for group in self.groups.values() for r in group for v in r.subnets["latency_ms"])
        return [axis for axis in AXES if axis != "latency_ms" or measured]

    def front(self, run: Run, axis: str = "macs") -> list[int]:
        """Return the places of a run's non-dominated subnets, ascending in a cost, among those whose cost is known."""
        if (run.folder, axis) not in self._fronts:
            costs, qualities = run.subnets[axis], run.subnets["quality"]
            known = [i for i, cost in enumerate(costs) if cost is not None]
            found = front_of([costs[i] for i in known], [qualities[i] for i in known], self.quality.sign)
            self._fronts[run.folder, axis] = [known[i] for i in found]
        return self._fronts[run.folder, axis]

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Pair]:
        """Tests of all pairs of methods by their hypervolumes."""
        return pairwise(self.hypervolumes)

    @cached_property
    def names(self) -> dict[Key, str]:
        """What subnets are called in the methods' runs: smallest, middle, largest."""
        runs = [run for group in self.groups.values() for run in group]
        named = ((key, kind) for run in runs for key, kind in zip(keys(run), run.subnets["kind"]) if kind in NAMED)
        return dict(named)

    @cached_property
    def notes(self) -> list[str]:
        """What a reader must know before believing the figures."""
        notes = [
            f"{run.label}, seed {run.seed}: no finite {self.quality.name} of {run.dropped} of {len(run) + run.dropped} "
            "subnets, which are left out"
            for run in self.runs
            if run.dropped
        ]
        for label, group in self.groups.items():
            differ = [key for key, _ in differences({run.folder: [run] for run in group}) if _is_setting(key)]
            if differ:
                few = ", ".join(differ[:4]) + (" …" if len(differ) > 4 else "")
                notes.append(f"{label}: its runs differ in more than the seed ({few}); tags=[…] tells such runs apart")
            if len({run.seed for run in group}) < len(group):
                notes.append(f"{label}: a seed occurs more than once")
        sizes = {len(run) for group in self.groups.values() for run in group}
        if len(sizes) > 1:
            notes.append(
                f"Runs evaluated different numbers of subnets ({min(sizes)} to {max(sizes)}); more of them alone make "
                "a front better"
            )
        spent = [run.gmacs for group in self.groups.values() for run in group if run.gmacs]
        if spent and max(spent) > 1.1 * min(spent):
            notes.append(f"Runs spent different amounts of compute: {min(spent):,.0f} to {max(spent):,.0f} GMACs")
        return notes


def keys(run: Run) -> list[Key]:
    """Return what tells a run's subnets apart."""
    return list(zip(run.subnets["id"], run.subnets["macs"]))


def differences(groups: Mapping[str, Sequence[Run]]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the config keys whose values are not the same in all runs: key → group → its values.

    Paths, and what only names or numbers a run, are left out; an absent key has the value ``–``.
    """
    runs = [run for group in groups.values() for run in group]
    found = []
    for key in dict.fromkeys(key for run in runs for key in run.config):
        if key.split(".")[0] in ("paths", "resume", "sweep", "tags") or key.rpartition(".")[2] in ("id", "run_id"):
            continue
        values = {
            label: list(dict.fromkeys(_shown(run.config.get(key, "–")) for run in group))
            for label, group in groups.items()
        }
        if len({v for group in values.values() for v in group}) > 1:
            found.append((key, values))
    return found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_setting(key: str) -> bool:
    """Tell whether a key changes what is computed beyond chance; images per epoch follow from a budget."""
    return key.rpartition(".")[2] not in ("seed", "images_per_epoch") and not key.startswith("logger.")
