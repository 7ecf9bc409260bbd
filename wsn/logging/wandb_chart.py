"""The chart of fronts on Weights & Biases: its spec, its name, and which columns of the table of subnets it draws."""

from importlib.resources import files

from wsn.evaluation.quality import Quality

CHART = "wsn-pareto"
SPEC = files("wsn.logging") / "pareto.vega.json"
KEY = "pareto/front"
TABLE_KEY = f"Custom Chart Tables/{KEY}_table"


def chart_id(entity: str) -> str:
    """Return the id of the registered chart of an entity."""
    return f"{entity}/{CHART}"


def chart_fields(quality: Quality) -> dict[str, str]:
    """Return field of the spec → column of the table of subnets."""
    return {"x": "gmacs", "y": quality.key, "series": "method", "run": "run_id"}


def chart_strings(quality: Quality) -> dict[str, str]:
    """Return the texts of the spec; ``better`` says whether the best so far is the highest or the lowest value."""
    better = "high" if quality.direction == "max" else "low"
    return {"title": "Subnets and fronts by method", "y": quality.name, "better": better}
