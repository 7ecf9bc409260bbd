"""The pages: tables are what conf/ gives, links lead somewhere, code can be read, commands compose."""

import ast
import re
import shlex
import sys

import pytest
from helpers.documents import PAGES, ROOT, block

from wsn.config import command_line, compose

sys.path.insert(0, str(ROOT / "docs"))
import tables  # noqa: E402

SLOW = ("backbones",)
CONFIGS = ("train", "evaluate", "search", "export")
IDS = [page.name for page in PAGES]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in tables.TABLES])
def test_tables_are_those_of_the_configs(name):
    places = [found for page in PAGES for found in tables.PLACE.finditer(page.read_text()) if found[2] == name]
    assert places, f"no page has the table {name}"
    for found in places:
        assert found[0] == tables.written(found[0]), "run: python docs/tables.py"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https:", "http:")):
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", to.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads], target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_can_be_read(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(code)


def commands():
    """Yield config and overrides of each command, but for sweeps, resumed runs and yamls of a reader's own."""
    seen = set()
    for page in PAGES:
        code = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
        code += re.findall(r"`((?:python \w+\.py|wsn \w+) [^`]*)`", page.read_text())
        for line in "".join(f"{part}\n" for part in code).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] not in (["python"], ["wsn"]) or "-m" in words or "…" in line or line in seen:
                continue
            seen.add(line)
            name = words[1].removesuffix(".py")
            overrides = [word for word in words[2:] if "=" in word]
            own = any(word.startswith("resume=") or word.endswith("=mine") for word in overrides)
            if name in CONFIGS and overrides and not own:
                yield pytest.param(name, overrides, id=f"{page.stem}: {' '.join(words[1:])}")


@pytest.mark.parametrize(("name", "overrides"), commands())
def test_commands_compose(name, overrides):
    compose(ROOT / "conf", command_line(overrides, name), name)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_readmes_first_lines_of_python():
    names = {}
    exec(block("python: network", "python"), names)
    assert names["plain"] is not names["view"]
    assert names["s"] in names["net"].space
