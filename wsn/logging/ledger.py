"""A ledger: small tables of the finished runs of a sweep that outlive their folders, so that they can be committed.

Three CSV files in one folder. ``runs.csv`` has a row per run: its key (the job, which its overrides tell, and the
recipe's version), what it trained, seed, compute, time and overrides; ``subnets.csv`` a row per subnet: choices and
costs; ``results.csv`` a row per evaluation of a subnet: run, split, epoch, subnet, metrics. A sweep skips what its
ledger has.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig

from wsn.errors import WsnError
from wsn.evaluation.quality import quality_of, write_quality
from wsn.files import Row, read_csv, write_csv
from wsn.logging.labels import label_of

RUNS, SUBNETS, RESULTS = "runs.csv", "subnets.csv", "results.csv"
OF_SUBNET = ("id", "macs", "params", "arch")
OF_RESULT = ("id", "kind", "split", "epoch")
APART = ("ledger", "recipe_version", "paths", "hydra", "logger", "trainer.enable_progress_bar", "sweep", "launcher")
"""Keys of overrides that do not change what a job computes."""
METRICS = ("train/gmacs_spent", "pareto/hypervolume", "test/hypervolume")


def job_key(method: str, overrides: Iterable[str]) -> str:
    """Return what tells a job from others, whatever sweep it is of: its method, and a digest of its overrides.

    >>> job_key("ofa", ["seed=0", "method=ofa", "ledger=here"]) == job_key("ofa", ["method=ofa", "seed=0"])
    True
    """
    text = "\n".join(computed(overrides))
    return f"{method}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def computed(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that change what a job computes, sorted."""
    keys = {o: o.lstrip("+~").partition("=")[0] for o in overrides}
    return sorted(o for o, key in keys.items() if not any(f"{key}.".startswith(f"{apart}.") for apart in APART))


class Ledger:
    """Finished runs of a sweep.

    Args:
        folder: of the three tables; made with the first run.
        recipe: version of the recipes: raise it where a change of numbers makes earlier runs worthless.
    """

    def __init__(self, folder: str | Path, recipe: int = 1):
        self.folder = Path(folder)
        self.recipe = recipe

    def find(self, job: str) -> Row | None:
        """Return the row of a job, of :func:`job_key`, that was finished with this version of the recipes."""
        return next((row for row in self._read(RUNS) if (row["job"], row["recipe"]) == (job, self.recipe)), None)

    def add(
        self, overrides: Sequence[str], cfg: DictConfig, folder: Path, metrics: Mapping[str, float], seconds: float
    ) -> None:
        """Add a finished run.

        Args:
            overrides: of the job that trained it.
            cfg: resolved config of the run.
            folder: run folder; its subnets.csv is read.
            metrics: final metrics, as training returned them.
            seconds: wall time of the job.

        Raises:
            WsnError: the files cannot be written.
        """
        rows = read_csv(folder / "subnets.csv")
        run = {
            "label": label_of(cfg),
            "seed": cfg.seed,
            "data": cfg.data.name,
            "backbone": cfg.backbone.name,
            "seconds": round(seconds),
            **{name: metrics.get(name) for name in METRICS},
            "overrides": " ".join(computed(overrides)),
        }
        quality = quality_of(rows)
        kept = [name for name in (quality.key, "loss") if name in rows[0]]
        key = {"job": job_key(cfg.method.name, overrides), "recipe": self.recipe}
        with self._writing():
            runs, subnets, results = (self._read(name) for name in (RUNS, SUBNETS, RESULTS))
            own = {row["id"]: {name: row[name] for name in OF_SUBNET} for row in (*subnets, *rows)}
            whole = {(row["job"], row["recipe"]) for row in runs}  # not what a crash left behind
            results = [row for row in results if (row["job"], row["recipe"]) in whole]
            results += [{**key, **{name: _short(row[name]) for name in (*OF_RESULT, *kept)}} for row in rows]
            write_quality(quality, self.folder)
            write_csv(self.folder / SUBNETS, list(own.values()))
            write_csv(self.folder / RESULTS, results)
            write_csv(self.folder / RUNS, [*runs, {**key, **{name: _short(value) for name, value in run.items()}}])

    def _read(self, name: str) -> list[Row]:
        path = self.folder / name
        return read_csv(path) if path.exists() else []

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WsnError(f"Cannot make the ledger {self.folder}: {error.strerror}. Set ledger=/path") from error
        lock = self.folder / ".lock"
        with FileLock(lock):
            yield


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def is_ledger(folder: Path) -> bool:
    """Tell whether a folder holds a ledger."""
    return (folder / RUNS).exists() and (folder / RESULTS).exists()


def read_ledger(folder: Path) -> list[Row]:
    """Return the runs of a ledger, of the newest version of each job, with ``rows``: those of their subnets."""
    subnets = {row["id"]: row for row in read_csv(folder / SUBNETS)}
    newest: dict[str, Row] = {}
    for run in read_csv(folder / RUNS):
        if run["job"] not in newest or run["recipe"] >= newest[run["job"]]["recipe"]:
            newest[run["job"]] = {**run, "overrides": tuple((run["overrides"] or "").split()), "rows": []}
    for row in read_csv(folder / RESULTS):
        if newest[row["job"]]["recipe"] == row["recipe"]:
            newest[row["job"]]["rows"].append({**subnets[row["id"]], **row})
    return list(newest.values())


def way(label: str, overrides: Iterable[str]) -> str:
    """Return how a subnet was trained, whatever the seed: the label and overrides of its run."""
    return " ".join([label, *(o for o in computed(overrides) if o.partition("=")[0] != "seed")])


def trained_alone(folder: str | Path, data: str | None) -> dict[tuple[str, int], float]:
    """Return the mean quality over seeds of the subnets of a ledger that were trained alone (``method=plain``).

    Args:
        folder: of the ledger; without one, nothing is known.
        data: name of the data set.

    Returns:
        (id, MACs) → value of the task's quality, on the test split. Of several ways to train it the best.
    """
    if not is_ledger(Path(folder)):
        return {}
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    sign = 1
    for run in read_ledger(Path(folder)):
        if run["data"] != data or run["label"].partition("+")[0] != "plain":
            continue
        quality = quality_of(run["rows"])
        sign = quality.sign
        for row in run["rows"]:
            if row["split"] == "test":
                ways = found.setdefault((row["id"], row["macs"]), {})
                ways.setdefault(way(run["label"], run["overrides"]), []).append(row[quality.key])
    means = {key: [fmean(values) for values in ways.values()] for key, ways in found.items()}
    return {key: sign * max(sign * mean for mean in values) for key, values in means.items()}
