"""Summary of compared runs, by method, over seeds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from wsn.comparison.runs import Run
from wsn.comparison.statistics import (
    Pair,
    compute_to_reach,
    deviation,
    front_of,
    hypervolume,
    pairwise,
    rank_correlation,
)
from wsn.errors import WsnError
from wsn.evaluation.quality import Quality
from wsn.logging.ledger import way
from wsn.search.ranking import stability

NAMED = ("smallest", "middle", "largest")
AXES = ("macs", "params", "latency_ms")
LAST_EPOCHS = 5  # by which the movement of rankings is measured
Key = tuple[str, int]  # id and MACs: the same choices in another backbone are another network


@dataclass(frozen=True)
class Alone:
    """A subnet trained alone: its costs, and its quality over the seeds.

    Where it was trained in several ways (lengths, rates, told apart by tags and by the overrides of a sweep),
    ``values`` are of the best of the longest; ``curve`` has the compute (GMACs) and mean quality of every way.
    """

    kind: str
    macs: int
    params: int
    arch: str
    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def mean(self) -> float:
        """Mean quality over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None for one."""
        return deviation(self.values)

    def of_seed(self, seed: int) -> float:
        """Return the quality at a seed; the mean over seeds, where it was not trained with that one."""
        return dict(zip(self.seeds, self.values)).get(seed, self.mean)


@dataclass(frozen=True)
class BreakEven:
    """From how many sizes on one supernet is cheaper than training each alone to the same quality.

    Args:
        spent: GMACs of the supernet.
        alone: mean GMACs of a size trained alone, until it is as good as the supernet's.
        reached: whether every size alone gets so far; where it does not, ``alone`` is all that was spent on it.
    """

    spent: float
    alone: float
    reached: bool

    @property
    def sizes(self) -> float:
        """Number of sizes that cost as much as the supernet."""
        return self.spent / self.alone


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

    def __post_init__(self) -> None:
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
        found: dict[Key, dict[str, list[tuple[Run, int]]]] = {}
        for run in self.plain:
            for i, key in enumerate(keys(run)):
                found.setdefault(key, {}).setdefault(way(run.label, run.overrides), []).append((run, i))
        return {key: self._alone(ways) for key, ways in sorted(found.items(), key=lambda item: item[0][1])}

    def _alone(self, ways: Mapping[str, list[tuple[Run, int]]]) -> Alone:
        """Put together what is known of one subnet: way → (run, place in it)."""
        values = {label: [run.subnets["quality"][i] for run, i in places] for label, places in ways.items()}
        means = {label: statistics.fmean(found) for label, found in values.items()}
        spent = {label: statistics.fmean([run.gmacs or 0.0 for run, _ in places]) for label, places in ways.items()}
        longest = [label for label in ways if spent[label] >= 0.9 * max(spent.values())]
        best = max(longest, key=lambda label: self.quality.sign * means[label])
        run, i = ways[best][0]
        curve = tuple((spent[label], means[label]) for label in ways if spent[label])
        kind, macs, params, arch = (run.subnets[name][i] for name in ("kind", "macs", "params", "arch"))
        seeds = tuple(run.seed for run, _ in ways[best])
        return Alone(kind, macs, params, arch, tuple(values[best]), seeds, curve)

    def qualities(self, run: Run) -> dict[Key, float]:
        """Return the quality of those subnets of a run that were trained alone too."""
        return {key: q for key, q in zip(keys(run), run.subnets["quality"]) if key in self.alone}

    def gaps(self, label: str) -> dict[Key, list[float]]:
        """Return subnet → each run's quality less that of the same subnet trained alone, of the same seed if any."""
        gaps: dict[Key, list[float]] = {}
        for run in self.groups[label]:
            for key, value in self.qualities(run).items():
                gaps.setdefault(key, []).append(value - self.alone[key].of_seed(run.seed))
        return gaps

    def mean_qualities(self, label: str) -> dict[Key, float]:
        """Return subnet → mean quality over a method's runs, of those that were trained alone too."""
        found: dict[Key, list[float]] = {}
        for run in self.groups[label]:
            for key, value in self.qualities(run).items():
                found.setdefault(key, []).append(value)
        return {key: statistics.fmean(values) for key, values in found.items()}

    def break_even(self, label: str) -> BreakEven | None:
        """Return what a method's supernet costs in sizes trained alone; None where compute or sizes are not known."""
        spent = [run.gmacs for run in self.groups[label] if run.gmacs]
        own = {key: q for key, q in self.mean_qualities(label).items() if key in self.names and self.alone[key].curve}
        if not spent or not own:
            return None
        sign = self.quality.sign
        needed = [compute_to_reach(self.alone[key].curve, q, sign) for key, q in own.items()]
        reached = all(sign * max(sign * q for _, q in self.alone[key].curve) >= sign * own[key] for key in own)
        return BreakEven(statistics.fmean(spent), statistics.fmean(needed), reached)

    def ranks(self, label: str) -> list[tuple[list[float], list[float]]]:
        """Return each run's qualities and those of the same subnets alone, both so that much is good."""
        sign, found = self.quality.sign, []
        for run in self.groups[label]:
            both = self.qualities(run)
            truth = [sign * self.alone[key].mean for key in both]
            if rank_correlation(list(both.values()), truth):
                found.append(([sign * q for q in both.values()], truth))
        return found

    def stability(self, label: str) -> float | None:
        """Return the mean Kendall τ between a method's runs, over the subnets that all of them evaluated (S-Tau)."""
        runs = [dict(zip(keys(run), run.subnets["quality"])) for run in self.groups[label]]
        shared = [key for key in runs[0] if all(key in run for run in runs)]
        return stability([[run[key] for key in shared] for run in runs]) if len(shared) > 2 else None

    def epoch_ranks(self, label: str) -> list[list[float]]:
        """Return for each run Kendall's τ of the last epochs' held-out qualities with those alone."""
        truth = {key[0]: alone.mean for key, alone in self.alone.items()}
        found = []
        for run in self.groups[label]:
            taus = []
            for epoch in sorted(run.epochs)[-LAST_EPOCHS:]:
                known = {i: q for i, q in run.epochs[epoch].items() if i in truth}
                both = rank_correlation(list(known.values()), [truth[i] for i in known])
                taus += [both[0]] if both else []
            found += [taus] if len(taus) > 1 else []
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
        return pairwise(self.hypervolumes, self.seeds)

    @cached_property
    def names(self) -> dict[Key, str]:
        """Names of subnets in the methods' runs: smallest, middle, largest."""
        runs = [run for group in self.groups.values() for run in group]
        named = ((key, kind) for run in runs for key, kind in zip(keys(run), run.subnets["kind"]) if kind in NAMED)
        return dict(named)

    @cached_property
    def notes(self) -> list[str]:
        """Caveats that a reader must know before believing the figures."""
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
