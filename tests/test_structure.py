"""How the packages of wsn build on each other: downwards only, without a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

WSN = Path(__file__).parents[1] / "wsn"
LAYERS = (  # from the bottom; a package imports those before it, in functions too
    "errors", "files", "space", "supernet", "cost_models", "losses", "evaluation", "backbones", "schedule", "config",
    "init", "data", "samplers", "importance", "providers", "routers", "methods", "module", "logging", "callbacks",
    "search", "deploy", "comparison", "run",
)  # fmt: skip


def room(path):
    """Return the package of a module, or its own name where it lies in the root."""
    return path.relative_to(WSN).parts[0].removesuffix(".py")


def imports():
    """Return room → the rooms that any line of it imports."""
    found = {}
    for path in WSN.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                parts = (module or "").split(".")
                if parts[0] == "wsn" and len(parts) > 1 and parts[1] != room(path):
                    found.setdefault(room(path), set()).add(parts[1])
    return found


def test_no_circle_between_packages():
    try:
        list(TopologicalSorter(imports()).static_order())
    except CycleError as error:
        raise AssertionError(f"circle: {' -> '.join(error.args[1])}") from None


def test_no_upward_import():
    place = {name: i for i, name in enumerate(LAYERS)}
    found = imports()
    upward = [(a, b) for a in found if a in place for b in found[a] if place.get(b, -1) >= place[a]]
    assert not upward
    unknown = {p.stem for p in WSN.glob("*") if p.is_dir() and p.suffix == ""} - {*LAYERS, "__pycache__"}
    assert not unknown, f"new packages: say in LAYERS where they belong: {unknown}"


def test_the_root_is_small():
    assert len(list(WSN.glob("*.py"))) <= 10
