"""Ground truth: subnets of a small space, each trained alone to convergence. A benchmark that needs no GPU.

    python -m wsn.search.ground_truth choose FOLDER OVERRIDES    # which subnets: FOLDER/chosen.csv
    python -m wsn.search.ground_truth package NAME LEDGER        # what they reached, as a file of this package

Between the two each one is trained by itself, ``method=plain method.subnet=FOLDER/chosen.csv:ID``, with a ledger.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from wsn.errors import WsnError, listed
from wsn.files import Row, read_csv, write_csv
from wsn.logging.ledger import read_ledger
from wsn.search.table import TableProblem
from wsn.space import SearchSpace, Subnet

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class GroundTruth:
    """Subnets of one space, trained alone.

    Args:
        name: name of the benchmark.
        space: space that the subnets are members of.
        rows: one for each (subnet, seed): ``id``, ``seed``, ``macs``, ``params``, ``acc`` on the test set, ``arch``.
    """

    name: str
    space: SearchSpace
    rows: tuple[Row, ...]

    @cached_property
    def table(self) -> dict[Subnet, Row]:
        """Subnet → its costs and mean accuracy over seeds, ascending in MACs."""
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda r: (r["macs"], r["id"])):
            found.setdefault(row["arch"], []).append(row)
        return {
            self.space.find(arch): {
                "id": rows[0]["id"],
                "macs": rows[0]["macs"],
                "params": rows[0]["params"],
                "acc": statistics.fmean(row["acc"] for row in rows),
                "seeds": len(rows),
            }
            for arch, rows in found.items()
        }

    @property
    def costs(self) -> dict[str, Callable[[Subnet], float]]:
        """Name → cost of a subnet of the table."""
        return {name: lambda s, name=name: self.table[s][name] for name in ("macs", "params")}  # type: ignore[misc]

    @property
    def noise(self) -> float:
        """Standard deviation of an accuracy over seeds, pooled over the subnets that have several."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["id"], []).append(row["acc"])
        several = [values for values in found.values() if len(values) > 1]
        squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
        return (squares / sum(len(values) - 1 for values in several)) ** 0.5 if several else float("nan")

    def problem(self, objectives: Mapping[str, str] | None = None, **kwargs: Any) -> TableProblem:
        """Return the problem that a search strategy runs on.

        Args:
            objectives: by default few MACs and much accuracy.
            **kwargs: as for :class:`wsn.search.problem.Problem`: evaluations, seed, constraints …
        """
        return TableProblem(self.space, self.table, self.costs, objectives or {"macs": "min", "acc": "max"}, **kwargs)


def ground_truth(name: str) -> GroundTruth:
    """Return a packaged benchmark.

    Raises:
        WsnError: there is none of this name.
    """
    path = ASSETS / f"{name}.csv"
    if not path.exists():
        raise WsnError(f"There is no ground truth {name!r}. Packaged are {listed(ground_truths())}")
    space = SearchSpace.from_json((ASSETS / f"{name}.json").read_text("utf-8"))
    return GroundTruth(name, space, tuple(read_csv(path)))


def ground_truths() -> list[str]:
    """Return the names of the packaged benchmarks."""
    return sorted(path.stem for path in ASSETS.glob("*.csv"))


def choose(
    space: SearchSpace,
    macs: Callable[[Subnet], float],
    levels: int = 9,
    of_level: int = 5,
    seed: int = 0,
    pool: int = 20_000,
) -> list[Subnet]:
    """Choose subnets spread over cost and, at equal cost, over shape: both ends, the middle, and the pool's extremes.

    At each of ``levels`` costs, evenly spaced in their logarithm, the subnet of the pool that differs most from those
    chosen before is taken, and again, ``of_level`` times.

    Args:
        space: space to choose from.
        macs: of a subnet.
        levels: number of costs.
        of_level: number of subnets of a cost.
        seed: of the pool.
        pool: number of subnets that are drawn.
    """
    rng = Random(seed)
    drawn = list(dict.fromkeys(space.sample(rng, size_bias=rng.random()) for _ in range(pool)))
    chosen = [space.min(), space.middle(), space.max()]
    low, high = macs(chosen[0]), macs(chosen[2])
    codes = {s: space.encode(s) for s in (*drawn, *chosen)}
    for level in range(levels):
        wanted = low * (high / low) ** ((level + 1) / (levels + 1))
        near = [s for s in drawn if abs(macs(s) / wanted - 1) < 0.03]
        for _ in range(of_level):
            left = [s for s in near if s not in chosen]
            if left:
                chosen.append(max(left, key=lambda s: min(_distance(codes[s], codes[c]) for c in chosen)))
    return sorted(chosen, key=macs)


def _distance(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x != y for x, y in zip(a, b))


def _choose(folder: Path, overrides: list[str]) -> None:
    """Write the chosen subnets of the space of a config."""
    from wsn.config import CONF, build_group, compose
    from wsn.cost_models.macs import cost

    net = build_group(compose(CONF, overrides).backbone)
    subnets = choose(net.space, lambda s: cost(net, s).macs)
    folder.mkdir(parents=True, exist_ok=True)
    costs = [cost(net, s) for s in subnets]
    rows = [{"id": s.id, "macs": c.macs, "params": c.params, "arch": s.to_json()} for s, c in zip(subnets, costs)]
    write_csv(folder / "chosen.csv", rows)
    (folder / "space.json").write_text(net.space.to_json() + "\n", "utf-8")
    print(f"{len(rows)} subnets of {net.space.size():.3g}: {folder / 'chosen.csv'}")


def _package(name: str, ledger: Path) -> None:
    """Write the stand-alone results of a ledger into the package."""
    chosen = {row["id"] for row in read_csv(ledger / "chosen.csv")}
    rows = [
        {"id": row["id"], "seed": run["seed"], **{key: row[key] for key in ("macs", "params", "acc", "loss", "arch")}}
        for run in read_ledger(ledger)
        if run["label"] == "plain"
        for row in run["rows"]
        if row["split"] == "test" and row["id"] in chosen
    ]
    ASSETS.mkdir(exist_ok=True)
    write_csv(ASSETS / f"{name}.csv", sorted(rows, key=lambda r: (r["macs"], r["id"], r["seed"])))
    (ASSETS / f"{name}.json").write_text((ledger / "space.json").read_text("utf-8"), "utf-8")
    print(f"{len({row['id'] for row in rows})} subnets, {len(rows)} trainings: {ASSETS / name}.csv")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m wsn.search.ground_truth", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("choose", help="choose subnets of a space")
    verb.add_argument("folder", type=Path)
    verb.add_argument("overrides", nargs="*", help="of conf/train.yaml, e.g. experiment=proving_ground/cnn")
    verb = verbs.add_parser("package", help="write what they reached into the package")
    verb.add_argument("name")
    verb.add_argument("ledger", type=Path)
    given = parser.parse_args(argv)
    if given.verb == "choose":
        _choose(given.folder, given.overrides)
    else:
        _package(given.name, given.ledger)


if __name__ == "__main__":
    main()
