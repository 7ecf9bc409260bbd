"""The evaluated subnets of a run and its searches; pure Python."""

import re
from pathlib import Path
from typing import Any

from wsn.errors import WsnError, listed
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of
from wsn.files import Row, read_subnets
from wsn.search.constraint import Constraint, within

RULES = ("mix", "sorted", "route")
"""Names that a rule or a router finds subnets for, see :mod:`wsn.run.chosen`."""

FILES = re.compile(r"\.json$|\.csv:[^:]+$")


def known_rows(folder: str | Path, search: str | None = None, every: bool = False) -> list[Row]:
    """Return the evaluated subnets of a run, each once.

    Args:
        folder: the run folder.
        search: name of one of its searches; None: all searches, or the last evaluation of the run where there is none.
        every: all searches and all evaluations: the tables of the folder.

    Raises:
        WsnError: no such search, or nothing was evaluated.
    """
    folder = Path(folder)
    searches = sorted(folder.glob(f"search/{search or '*'}/evaluations.csv"))
    if search is not None and not searches:
        names = [p.parent.name for p in folder.glob("search/*/evaluations.csv")]
        raise WsnError(
            f"{folder} has no search {search!r}; it has {listed(names) or 'none'}. Run wsn search run={folder}"
        )
    rows = [row for path in searches for row in read_subnets(path)]
    if every:
        tables = sorted(folder.glob("*.csv"), key=lambda path: path.name != "subnets.csv")
        rows += [row for path in tables for row in read_subnets(path) if row.get("arch") and row.get("id")]
    elif not rows and (folder / "subnets.csv").exists():
        own = read_subnets(folder / "subnets.csv")
        last = own[-1] if own else {}
        rows = [r for r in own if (r["split"], r["step"]) == (last["split"], last["step"])]
    if not rows:
        raise WsnError(f"{folder} has no evaluated subnets yet. Run wsn search run={folder}")
    return list({row["id"]: row for row in rows}.values())


def check_spec(spec: Any) -> None:
    """Check the constraints of ``best@...`` and ``mix@...``, the rate of ``sorted@...`` and budget of ``route@...``.

    Raises:
        WsnError: they cannot be read.
    """
    name, _, budget = spec.partition("@") if isinstance(spec, str) else ("", "", "")
    if name == "best" or name == "mix":
        constraints = Constraint.parse_all(budget)
        if name == "mix" and not constraints:
            raise WsnError(f"subnet=mix needs a budget, e.g. mix@params<=60e6. Received {spec!r}")
    if name == "sorted" and not re.fullmatch(r"0?\.\d+|0", budget):
        raise WsnError(f"subnet=sorted needs the share that is pruned, e.g. sorted@0.3. Received {spec!r}")
    if name == "route" and not re.fullmatch(r"0?\.\d*[1-9]\d*|1(\.0*)?", budget):
        raise WsnError(f"subnet=route needs a share of the largest's cost, e.g. route@0.5. Received {spec!r}")


def known_archs(folder: str | Path, spec: str, search: str | None = None) -> list[str]:
    """Return the choices, as JSON, of the known subnets that ``front``, ``best@<constraints>`` or an id name.

    What is no such name is returned as it is: ``largest``, choices, a file, see
    :meth:`wsn.space.SearchSpace.find`.

    Args:
        folder: the run folder.
        spec: what a user wrote.
        search: see :func:`known_rows`.

    Raises:
        WsnError: nothing known has this id, or is within the constraints.
    """
    if spec == "front" or spec.partition("@")[0] == "best":
        return [row["arch"] for row in choose(known_rows(folder, search), spec)]
    if spec in ("largest", "smallest", "middle") or spec.lstrip().startswith("{") or FILES.search(spec):
        return [spec]
    found = [row["arch"] for row in known_rows(folder, search, every=True) if row["id"] == spec]
    if not found:
        raise WsnError(
            f"subnet={spec}: not the id of an evaluated subnet. Allowed are an id of {folder}'s tables (subnets.csv, "
            "evaluation.csv, its searches), best, best@macs<=2e8, front, mix@params<=6e7, sorted@0.3, route@0.5, "
            "largest, smallest, middle, a .json file, TABLE.csv:ID, or choices such as '{depth: 2}'"
        )
    return found[:1]


def choose(rows: list[Row], spec: str) -> list[Row]:
    """Return the rows that ``best``, ``best@<constraints>`` or ``front`` name.

    Raises:
        WsnError: no row is within the constraints.
    """
    quality = quality_of(rows)
    if spec == "front":
        return list(Front(rows, quality.objectives))
    constraints = Constraint.parse_all(spec.removeprefix("best").removeprefix("@"))
    advice = f", or search there: wsn search run=... 'constraints={spec.partition('@')[2]}'"
    return [max(within(rows, constraints, f"subnet={spec}", advice), key=lambda r: quality.sign * r[quality.key])]
