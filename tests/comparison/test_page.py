"""The page's data and its safety; how it looks and works is tested in a browser."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest
from helpers.synthetic import config_of, make_panel, row_of, write_run, write_sweep
from hydra.core.override_parser.overrides_parser import OverridesParser

from wsn.comparison.choices import encode, histograms
from wsn.comparison.page import export_argument, page_data, write_page
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison
from wsn.space import Dimension, SearchSpace


def decode(coded, place):
    """Return the choices of a subnet, as the page's script does."""
    arch, at = {}, 0
    for name, length in coded["shapes"][coded["shape"][place]]:
        letters = coded["code"][place][at : at + (length or 1)]
        values = [None if c == "-" else coded["values"][name][ord(c) - 48] for c in letters]
        arch[name] = values if length is not None else values[0]
        at += len(letters)
    return arch


def test_codes_are_whole_and_short():
    archs = [arch for _, arch in make_panel(50)]
    archs += [{"layers": [1, 0, 1], "ffn": [384, None, 128]}, {"width": list(range(200))}, {"width": 7}]
    texts = [json.dumps(arch) for arch in archs]
    coded = encode(texts)
    assert [decode(coded, i) for i in range(len(archs))] == archs
    assert len(coded["code"][0]) < len(texts[0]) / 5


def test_histograms_count_members_by_hand():
    fronts = {
        "a": ['{"depth":[2,3],"kernel":[3,null],"w":1}', '{"depth":[2,2],"kernel":[5,5],"w":1}'],
        "b": ['{"depth":[3,3],"kernel":[3,3],"w":1}'],
    }
    depth, kernel = histograms(fronts, {"kernel": [3, 5, 7]})
    assert (depth["name"], depth["values"], depth["uniform"]) == ("depth", [2, 3], None)
    assert depth["counts"] == [[[2, 0], [1, 1]], [[0, 1], [0, 1]]]
    assert (kernel["name"], kernel["values"]) == ("kernel", [3, 5, 7])
    assert kernel["uniform"] == pytest.approx([1 / 3] * 3)
    assert kernel["counts"] == [[[1, 1, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]]]  # w never differs


def test_kept_layers_are_counted_too():
    found = histograms({"a": ['{"layers":[1,0,1]}', '{"layers":[1,1,1]}']}, {})
    assert [h["name"] for h in found] == ["layers", "layers kept"]
    assert found[0]["counts"] == [[[0, 2], [1, 1], [0, 2]]]
    assert (found[1]["values"], found[1]["counts"]) == ([2, 3], [[[1, 1]]])


def test_uniform_shares_are_what_a_space_samples():
    space = SearchSpace(
        [Dimension("depth", [2, 3, 4], 5, "stage"), Dimension("kernel", [3, 5, 7], 20, "block")], stages=[4] * 5
    )
    rng = random.Random(0)
    drawn = [space.sample(rng).to_json() for _ in range(400)]
    for found in histograms({"uniform": drawn}, {"depth": [2, 3, 4], "kernel": [3, 5, 7]}):
        counts = [sum(column) for column in zip(*found["counts"][0])]
        assert [c / sum(counts) for c in counts] == pytest.approx(found["uniform"], abs=0.03)


def test_page_data_is_that_of_the_runs(tmp_path):
    write_sweep(tmp_path, ["ofa", "deps"], seeds=2, subnets=6, alone=3)
    c = Comparison(*find_runs([tmp_path]))
    data = page_data(c)
    assert len(data["subnets"]["id"]) == 6  # the panel is shared
    assert list(data["axes"]) == ["macs", "params"]
    for shown, run in zip(data["runs"], (run for group in c.groups.values() for run in group)):
        assert [data["subnets"]["id"][s] for s in shown["s"]] == run.subnets["id"]
        assert [data["subnets"]["macs"][s] for s in shown["s"]] == run.subnets["macs"]
        assert shown["q"] == pytest.approx(run.subnets["quality"], abs=1e-4)
        assert shown["fronts"]["params"] == c.front(run, "params")
        assert data["methods"][shown["m"]] == run.label
    assert data["alone"]["n"] == [2, 2, 2]
    places, means = data["scatter"][0]
    key = list(c.alone)[places[0]]
    own = [run.subnets["quality"][run.subnets["id"].index(key[0])] for run in c.groups["ofa"]]
    assert means[0] == pytest.approx(sum(own) / 2, abs=1e-4)


def test_latency_is_an_axis_where_it_was_measured(tmp_path):
    panel = make_panel(4)
    for seed, known in enumerate([3, 0]):
        rows = [
            row_of(kind, arch, "test", {"acc": 0.5 + 0.1 * i, "acc5": 1, "loss": 1}, 10.0 + i if i < known else None)
            for i, (kind, arch) in enumerate(panel)
        ]
        write_run(tmp_path / str(seed), config_of("ofa", seed, tmp_path / str(seed)), rows)
    data = page_data(Comparison(*find_runs([tmp_path])))
    assert list(data["axes"]) == ["macs", "params", "latency_ms"]
    assert data["runs"][0]["latency"] == [10, 11, 12, None]
    assert data["runs"][1]["latency"] is None
    assert [run["fronts"]["latency_ms"] for run in data["runs"]] == [[0, 1, 2], []]
    assert data["means"]["latency_ms"] == [[[10, 11, 12], [50, 60, 70], [0, 0, 0]]]


@pytest.mark.parametrize(
    "folder", ["outputs/sweeps/a/ofa_0", "out/it's here", "a=b,c", "12", "1e5", "null", "a b/ö", "x(1)[2]", "~/runs"]
)
def test_export_argument_survives_shell_and_hydra(folder):
    [word] = shlex.split(export_argument(folder))
    assert OverridesParser.create().parse_overrides([word])[0].value() == folder


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path):
    name = "</script><script>alert(1)</script>"
    rows = [row_of("smallest", make_panel(1)[0][1], "test", {"acc": 0.5, "acc5": 1, "loss": 1})]
    write_run(tmp_path / "a", config_of(name, 0, tmp_path / "a"), rows)
    write_page(Comparison(*find_runs([tmp_path])), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert name not in text
    own = re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", text, flags=re.S)
    assert len(own) < 100_000
    assert not re.findall(r"https?://|src=|@import", own)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', own, re.S)[1])
    assert data["methods"] == [name]


def test_assets_are_packaged():
    import tomllib

    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["wsn.comparison"] == ["assets/*"]
