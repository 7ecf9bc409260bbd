"""Writes the tables of docs/ that follow from conf/: ``python docs/tables.py``; a test compares them with the files.

A page holds a table between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
CONF = DOCS.parent / "conf"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
PAPER = re.compile(r"(?P<name>.+?) \((?P<authors>[^()]*?\d{4}), arXiv:(?P<arxiv>[\d.]+)\)")
GROUPS = ("sampler", "data", "evaluation", "callbacks", "experiment", "search", "cost")
FAMILIES = ("mobilenet", "attentive_mobilenet", "resnet50", "timm_cnn", "slimmable", "vit", "autoformer", "llama")


def main() -> None:
    """Write every table into its page."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        new = written(text)
        if new != text:
            page.write_text(new)
            print(f"written: {page.name}")


def written(text: str) -> str:
    """Return a page with the tables that conf/ gives now."""
    return PLACE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def names(group: str) -> list[str]:
    """Return the options of a config group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def header(group: str, name: str) -> str:
    """Return the first comment of a config file that says something."""
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return next((line for line in comments if not line.startswith("@package")), "")


def composed(*overrides: str) -> Any:
    """Return the config of a command line."""
    from wsn.config import compose

    return compose(CONF, list(overrides))


@cache
def method_config(name: str) -> Any:
    """Return the config of a method."""
    return composed(f"method={name}", *(["run=."] if name == "finetune" else []))


def methods() -> str:
    """Return name, paper, sampler, roles of the phases and published recipe of each method."""
    recipes: dict[str, list[str]] = {name: [] for name in names("method")}
    for name in names("experiment"):
        method = _method_of(name)
        recipes[method].append(f"`{name}`")
    rows = []
    for name in names("method"):
        cfg = method_config(name)
        sampler = cfg.sampler["_target_"].rpartition(".")[2]
        steps: dict[str, list[str]] = {}
        for phase, values in cfg.method.phases.items():
            steps.setdefault(", ".join(values.roles), []).append(str(phase))
        roles = "; ".join(text if len(steps) == 1 else f"{', '.join(at)}: {text}" for text, at in steps.items())
        rows.append([f"`{name}`", _paper(name), f"`{sampler}`", roles, _losses(cfg), ", ".join(recipes[name])])
    return table(["`method=`", "paper", "sampler", "roles of a step", "learns from", "`experiment=`"], rows)


def _method_of(experiment: str) -> str:
    """Return the method of a published recipe, which may build on another one."""
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    found = re.search(r"override /method: (\w+)", text)
    base = re.search(r"^  - (\w+)$", text, re.MULTILINE)
    return found[1] if found else _method_of(base[1])  # type: ignore[index]


def _paper(name: str) -> str:
    """Return name, authors and a link, of the header."""
    found = PAPER.match(header("method", name))
    if not found:
        return header("method", name).partition(":")[0]
    link = f"[{found['arxiv']}](https://arxiv.org/abs/{found['arxiv']})"
    return f"{found['name']}, {found['authors']}, {link}"


def _losses(cfg: Any) -> str:
    """Return what each role learns from."""
    parts = []
    for role, loss in cfg.method.losses.items():
        of = ["labels"] if loss.labels else []
        of += [f"logits of `{loss.target}`"] if loss.distill else []
        parts.append(" and ".join(of) if len(cfg.method.losses) == 1 else f"{role}: {' and '.join(of)}")
    return "; ".join(parts)


def backbones() -> str:
    """Return dimensions, size of the space and costs of each backbone."""
    import wsn

    rows = []
    for name in names("backbone"):
        net = network(name)
        small, large = (wsn.cost(net, s) for s in (net.space.min(), net.space.max()))
        rows.append([
            f"`{name}`", ", ".join(net.space.dimensions), f"{net.space.size():.2g}", _range(small.macs, large.macs),
            _range(small.params, large.params), header("backbone", name),
        ])  # fmt: skip
    return table(["`backbone=`", "elastic", "subnets", "MACs (M)", "parameters (M)", "what it is"], rows)


@cache
def network(name: str) -> Any:
    """Return a backbone without weights: images for ImageNet, language models for bytes."""
    import torch

    from wsn.config import build_group

    cfg = composed(f"backbone={name}", "data=imagenet", "data.root=.")
    if cfg.backbone.get("inputs") == "text":
        cfg = composed(f"backbone={name}", "data=shakespeare")
    with torch.device("meta"):
        return build_group(cfg.backbone)


def _range(low: int, high: int) -> str:
    """Return two counts in millions, of three digits."""
    return "–".join(f"{n / 1e6:.{2 if n < 1e7 else 1 if n < 1e8 else 0}f}" for n in (low, high))


def matrix() -> str:
    """Return which methods train which families of backbones; tests/test_matrix.py trains every pair."""
    with open(DOCS / "data" / "matrix.csv", newline="") as file:
        refused = {(row["method"], row["backbone"]): row["reason"] for row in csv.DictReader(file)}
    from_scratch = [name for name in names("method") if name != "finetune"]
    rows = [[f"`{name}`", *(refused.get((name, of), "yes") for of in FAMILIES)] for name in from_scratch]
    return table(["`method=`", *(f"`{name}`" for name in FAMILIES)], rows)


def timm_models() -> str:
    """Return how many models of each family of timm work as ``slimmable`` and ``timm_cnn``, of families with any."""
    with open(DOCS / "data" / "timm_models.csv", newline="") as file:
        found = {(row["model"], row["backbone"]): row["result"] for row in csv.DictReader(file)}
    families: dict[str, list[str]] = {}
    for model in sorted({model for model, _ in found}):
        families.setdefault(re.match(r"(tf_)?[a-z]+", model)[0], []).append(model)  # type: ignore[index]
    rows = []
    for family, models in [*families.items(), ("", [name for names in families.values() for name in names])]:
        works = [sum(found.get((m, of)) == "works" for m in models) for of in ("slimmable", "timm_cnn")]
        if any(works):
            rows.append([f"`{family}`" if family else "all of timm", str(len(models)), *(str(n or "") for n in works)])
    return table(["family", "models", "`slimmable`", "`timm_cnn`"], rows)


def options(group: str) -> Callable[[], str]:
    """Return what makes the table of a config group: names and what their headers say."""
    return lambda: table([f"`{group}=`", ""], [[f"`{name}`", header(group, name)] for name in names(group)])


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "backbones": backbones,
    "matrix": matrix,
    "timm_models": timm_models,
    **{group: options(group) for group in GROUPS},
}

if __name__ == "__main__":
    main()
