"""What a run and its searches have found out about subnets; pure Python."""

import json
import re
from pathlib import Path
from typing import Any

from wsn.errors import WsnError, listed
from wsn.pareto import Front
from wsn.quality import quality_of
from wsn.rows import Row, read_csv
from wsn.search.constraint import Constraint


def known_rows(folder: str | Path, search: str | None = None, every: bool = False) -> list[Row]:
    """Return the evaluated subnets of a run, each once.

    Args:
        folder: the run folder.
        search: name of one of its searches; None: all searches, or the last evaluation of the run where there is none.
        every: all searches and all evaluations.

    Raises:
        WsnError: no such search, or nothing was evaluated.
    """
    folder = Path(folder)
    searches = sorted(folder.glob(f"search/{search or '*'}/evaluations.csv"))
    if search is not None and not searches:
        names = [p.parent.name for p in folder.glob("search/*/evaluations.csv")]
        raise WsnError(
            f"{folder} has no search {search!r}; it has {listed(names) or 'none'}. Run python search.py run={folder}"
        )
    rows = [row for path in searches for row in read_csv(path)]
    if (every or not rows) and (folder / "subnets.csv").exists():
        own = read_csv(folder / "subnets.csv")
        last = own[-1] if own else {}
        rows += [r for r in own if every or (r["split"], r["step"]) == (last["split"], last["step"])]
    if not rows:
        raise WsnError(f"{folder} has no evaluated subnets yet. Run python search.py run={folder}")
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


def subnet_specs(folder: str | Path, spec: Any, search: str | None = None) -> list[str]:
    """Return what :meth:`wsn.space.SearchSpace.find` takes, for each subnet that a user's ``spec`` names.

    Args:
        folder: the run folder.
        spec: ``best``, ``best@<constraints>``, ``front``, an id, ``mix@<constraints>``, ``sorted@<rate>`` or
            ``route@<budget>`` (see :func:`wsn.run.chosen.subnet_by_rule`), or what ``find`` takes itself.
        search: see :func:`known_rows`.

    Raises:
        WsnError: nothing known has this id, or is within the constraints.
    """
    if not isinstance(spec, str):
        return [json.dumps(spec)]
    if spec.partition("@")[0] in ("mix", "sorted", "route"):
        check_spec(spec)
        from wsn.run.chosen import subnet_by_rule  # imports torch

        return [subnet_by_rule(folder, spec).to_json()]
    if spec == "front" or spec.partition("@")[0] == "best":
        return [row["arch"] for row in choose(known_rows(folder, search), spec)]
    if spec in ("largest", "smallest", "middle") or spec.lstrip().startswith("{") or spec.endswith(".json"):
        return [spec]
    found = [row["arch"] for row in known_rows(folder, search, every=True) if row["id"] == spec]
    if not found:
        raise WsnError(
            f"subnet={spec}: not the id of an evaluated subnet. Allowed are an id of {folder}'s searches or "
            "subnets.csv, best, best@macs<=2e8, front, mix@params<=6e7, sorted@0.3, route@0.5, largest, smallest, "
            "middle, a .json file, or choices such as '{depth: 2}'"
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
    for c in constraints:
        if not any(isinstance(r.get(c.key), int | float) for r in rows):
            numbers = [k for k, v in rows[0].items() if isinstance(v, int | float) and not isinstance(v, bool)]
            raise WsnError(
                f"subnet={spec}: the evaluated subnets have no {c.key}; they have {listed(numbers)}. Search with "
                "cost=[macs,latency] to have latencies"
            )
    allowed = [r for r in rows if all(c.holds(r) for c in constraints)]
    if not allowed:
        c = next((c for c in constraints if not any(c.holds(r) for r in rows)), constraints[0])
        values = [r[c.key] for r in rows if r.get(c.key) is not None]
        end, size = (min(values), "smallest") if c.sign == "<=" else (max(values), "largest")
        raise WsnError(
            f"subnet={spec}: no evaluated subnet has {c}; the {size} has {c.key} {end:.6g}. Relax it, or search there: "
            f"python search.py run=... 'constraints={c}'"
        )
    return [max(allowed, key=lambda r: quality.sign * r[quality.key])]
