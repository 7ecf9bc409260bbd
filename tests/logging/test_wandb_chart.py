"""The chart of fronts: W&B's placeholders, what Vega-Lite makes of them, its registration, and the report."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wsn.evaluation.quality import ACCURACY, BITS_PER_BYTE
from wsn.logging.wandb_chart import SPEC, TABLE_KEY, chart_fields, chart_strings
from wsn.run.cli import main

vl_convert = pytest.importorskip("vl_convert")
ROOT = Path(__file__).parents[2]
METHODS = ("ofa", "bignas", "alphanet", "deps", "spos", "us_net")


def filled(node, quality):
    """Put in fields and strings as W&B does: text for text, with the default after the second colon."""
    if isinstance(node, dict):
        return {key: filled(value, quality) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, quality) for value in node]

    def setting(match):
        kind, name, *default = match.group(1).split(":", 2)
        if kind == "field":
            return chart_fields(quality)[name]
        return chart_strings(quality).get(name) or (default[0] if default else "")

    return re.sub(r"\$\{(.*?)\}", setting, node) if isinstance(node, str) else node


def fronts():
    """Return six methods with two seeds each: nine subnets of a run."""
    rng, rows = random.Random(0), []
    for i, method in enumerate(METHODS):
        for seed in range(2):
            for _ in range(9):
                gmacs = 10 ** rng.uniform(-3, -1.6)
                acc = 0.86 - 0.03 * i - 0.25 * (0.001 / gmacs) ** 0.5 + rng.gauss(0, 0.01)
                about = {"method": method, "run_id": f"{method}{seed}", "name": f"{method}-mobilenet-s{seed}"}
                rows.append({**about, "gmacs": gmacs, "acc": acc, "bits_per_byte": 6 - 4 * acc})
    return rows


@pytest.fixture(params=[ACCURACY, BITS_PER_BYTE], ids=["accuracy", "bits per byte"])
def chart(request):
    spec = filled(json.loads(SPEC.read_text()), request.param)
    assert "${" not in json.dumps(spec)
    return {**spec, "width": 620, "height": 400, "datasets": {"wandb": fronts()}}, request.param


def test_the_spec_renders(chart):
    spec, _ = chart
    png = vl_convert.vegalite_to_png(spec, vl_version="5.21")
    assert png[:4] == b"\x89PNG"
    assert len(png) > 30_000
    svg = vl_convert.vegalite_to_svg(spec, vl_version="5.21")
    for method in METHODS:  # each once, in one legend of colour and shape
        assert len(re.findall(f">{method}<", svg)) == 1
    assert ">multiply-adds (G)<" in svg


def test_a_line_per_run_is_the_best_so_far(chart):
    """In SVG a step line that only rises has falling y, and the other way round where little is good."""
    spec, quality = chart
    svg = vl_convert.vegalite_to_svg(spec, vl_version="5.21")
    lines = re.findall(r'aria-roledescription="line mark" d="(M[^"]*)"', svg)
    assert len(lines) == 2 * len(METHODS)
    for line in lines:
        points = [tuple(map(float, p.split(","))) for p in re.findall(r"-?[\d.]+,-?[\d.]+", line)]
        xs, ys = zip(*points)
        assert len(points) > 9
        assert list(xs) == sorted(xs)
        assert list(ys) == sorted(ys, reverse=quality.direction == "max")


class Server:
    """W&B as far as setting up asks for it."""

    charts: dict = {}

    def __init__(self, timeout):
        pass

    def create_project(self, name, entity):
        pass

    def create_custom_chart(self, entity, name, display_name, spec_type, access, spec):
        assert (spec_type, access) == ("vega2", "private")
        if entity == "stranger":
            raise RuntimeError("permission denied")
        if (entity, name) in self.charts:
            raise RuntimeError("a chart of this name already exists")
        self.charts[entity, name] = json.loads(spec)
        return f"{entity}/{name}"


def test_setup_registers_the_chart_once(monkeypatch, capsys):
    monkeypatch.setattr("wandb.Api", Server)
    monkeypatch.setattr(Server, "charts", {})
    for _ in range(2):
        assert main(["wandb-setup", "entity=me"]) == 0
        assert "logger.wandb.chart=me/wsn-pareto" in capsys.readouterr().out
    assert list(Server.charts.values()) == [json.loads(SPEC.read_text())]
    assert main(["wandb-setup", "entity=stranger"]) == 1
    assert "refused entity 'stranger'" in capsys.readouterr().err


def test_setup_without_a_key_is_one_error(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert main(["wandb-setup", "entity=me"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: W&B: No API key")
    assert "WANDB_API_KEY" in line


def test_report_and_workspace_without_key_or_network():
    pytest.importorskip("wandb_workspaces")
    done = subprocess.run(
        [sys.executable, "sweeps/report.py", "--entity", "me", "--group", "methods", "--dry-run"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": "", "HOME": "/nowhere"},
    )  # fmt: skip
    found = json.loads(done.stdout)
    blocks = found["report"]["spec"]["blocks"]
    grids = [b["metadata"] for b in blocks if b["type"] == "panel-grid"]
    panels = [p for grid in grids for p in grid["panelBankSectionConfig"]["panels"]]
    sections = found["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [p["config"] for s in sections for p in s["panels"]] == [p["config"] for p in panels]
    kinds = [p["viewType"] for p in panels]
    assert kinds == ["Vega2", "Run History Line Plot", "Scatter Plot", *["Run History Line Plot"] * 3, "Bar Chart"]
    chart, front, spent, *losses, spread = (p["config"] for p in panels)
    assert chart["panelDefId"] == "me/wsn-pareto"
    assert chart["fieldSettings"] == chart_fields(ACCURACY)
    assert TABLE_KEY in json.dumps(chart["userQuery"])
    assert (front["xAxis"], front["metrics"]) == ("front/gmacs", ["front/acc"])
    assert (spent["xAxis"], spent["yAxis"]) == ("summary:train/gmacs_spent", "summary:test/hypervolume")
    assert [c["metrics"] for c in losses] == [["train/loss/max"], ["train/loss/random"], ["train/loss/min"]]
    assert spread["metrics"] == ["test/hypervolume"]
    for config in (front, *losses, spread):
        assert (config["groupBy"], config["groupAgg"], config["groupArea"]) == ("method_name.value", "mean", "stddev")
    for grid in grids:
        asked = {f["key"]["name"]: f["value"] for f in grid["runSets"][0]["filters"]["filters"]}
        assert asked == {"jobType": "train", "group": "methods"}
