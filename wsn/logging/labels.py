"""Labels of runs in tables and dashboards: the method as it ran, and the tags."""

from collections.abc import Mapping
from typing import Any

PARTS = ("callbacks", "phases", "losses")


def label_of(cfg: Mapping[str, Any]) -> str:
    """Return the method's name, the parts that were taken out of it, and the run's tags.

    Args:
        cfg: of the run.

    >>> method = {"name": "alphanet", "callbacks": {"alpha_divergence": None}, "phases": {"all": {}}}
    >>> label_of({"method": method, "tags": ["slow"]})
    'alphanet without alpha_divergence+slow'
    """
    method = cfg["method"]
    gone = [name for part in PARTS for name in taken_out(method.get(part))]
    name = f"{method['name']} without {', '.join(gone)}" if gone else str(method["name"])
    return "+".join([name, *map(str, cfg.get("tags") or [])])


def taken_out(parts: Any) -> list[str]:
    """Return the names of the parts that are null; configs of earlier versions have a list of phases."""
    return [str(name) for name, value in parts.items() if value is None] if hasattr(parts, "items") else []
