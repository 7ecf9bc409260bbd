"""What a run and its searches have found out about subnets; pure Python."""

from pathlib import Path
from typing import Any

from wsn.errors import WsnError, listed
from wsn.pareto import Front, Row, read_csv
from wsn.quality import quality_of
from wsn.search.constraint import Constraint


def known_rows(folder: str | Path, search: str | None = None) -> list[Row]:
    """Return the evaluated subnets of a run, each once.

    Args:
        folder: the run folder.
        search: name of one of its searches; None: all searches, or the last evaluation of the run where there is none.

    Raises:
        WsnError: no such search, or nothing was evaluated.
    """
    folder = Path(folder)
    searches = sorted(folder.glob(f"search/{search or '*'}/evaluations.csv"))
    if search is not None and not searches:
        names = [p.parent.name for p in folder.glob("search/*/evaluations.csv")]
        raise WsnError(
            f"{folder} has no search {search!r}; it has {listed(names) or 'none'}. Run search.py run={folder}"
        )
    rows = [row for path in searches for row in read_csv(path)]
    if not rows and (folder / "subnets.csv").exists():
        every = read_csv(folder / "subnets.csv")
        last = every[-1:]
        rows = [r for r in every if (r["split"], r["step"]) == (last[0]["split"], last[0]["step"])]
    if not rows:
        raise WsnError(f"{folder} has no evaluated subnets yet. Run python search.py run={folder}")
    return list({row["id"]: row for row in rows}.values())


def check_spec(spec: Any) -> None:
    """Check the constraints of ``best@...``.

    Raises:
        WsnError: they cannot be read.
    """
    if isinstance(spec, str) and spec.startswith("best@"):
        Constraint.parse_all(spec.removeprefix("best@"))


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
    sign = 1 if quality.direction == "max" else -1
    return [max(allowed, key=lambda r: sign * r[quality.key])]
