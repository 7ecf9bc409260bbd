"""Costs: counted against the extracted module, tables against their parts, once-for-all's against its own code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers.nets import BACKBONES

import wsn
from wsn import WsnError
from wsn.config import build, compose
from wsn.cost_models.counted import KVCacheBytes, Macs, Params, WeightBytes
from wsn.cost_models.latency import DecodeLatency, Latency, PrefillLatency
from wsn.cost_models.macs import cost_table
from wsn.cost_models.ofa_table import OFALatencyTable
from wsn.cost_models.onnx_set import read_measured, write_onnx_set
from wsn.cost_models.runtimes import Device, Timing
from wsn.cost_models.table import LatencyTable, parts_of_space

KEYS = json.loads((Path(__file__).parents[1] / "assets" / "ofa_latency_keys.json").read_text())
FAST = {"min_seconds": 0.001}


@pytest.fixture(scope="module")
def tiny():
    return wsn.create_supernet(
        "mobilenet", num_classes=5, in_chans=1, width_mult=0.2, resolution=[16, 24], depth=[1, 2], kernel=[3, 5],
        expand=3, reduction=8,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("name", ["macs", "params", "weight_bytes", "latency", "prefill", "decode", "kv_cache"])
def test_every_yaml_is_a_cost(tiny, name):
    node = compose("conf", [f"cost={name}", "run=x"], "search").cost
    language = name in ("prefill", "decode", "kv_cache")
    net = BACKBONES["llama"]() if language else tiny
    for key, value in node.items():
        model = build({**value, "tokens": 4} if "tokens" in value else value)
        assert 0 < model(net, net.space.min()) < float("inf")
        assert (model.hardware() is None) == ("latency" not in key and "_ms" not in key)
        if language:
            with pytest.raises(WsnError, match="language models"):
                model(tiny, tiny.space.min())


def test_counted_costs_are_those_of_the_extracted_module(tiny):
    subnet = tiny.space.middle()
    plain = tiny.extract(subnet)
    count = sum(p.numel() for p in plain.parameters())
    assert Params()(tiny, subnet) == count
    assert WeightBytes(8)(tiny, subnet) == count
    assert WeightBytes()(tiny, subnet) == sum(p.numel() * p.element_size() for p in plain.parameters())
    assert Macs()(tiny, subnet) == wsn.cost(tiny, subnet).macs


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_cache_is_as_large_as_transformers_makes_it(name):
    net = BACKBONES[name]()
    subnet = net.space.subnet(layers=[0, 2], heads=2)
    tokens = torch.zeros(1, 6, dtype=torch.long)
    cache = net.extract(subnet).eval()(input_ids=tokens, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    assert KVCacheBytes(context=6)(net, subnet) == size


def test_latencies_come_with_their_spread_and_hardware(tiny):
    model = Latency(min_seconds=0.05)
    timing = model.timing(tiny, tiny.space.min())
    assert timing.median_ms > 0
    assert timing.iqr_ms >= 0
    assert timing.calls > 1
    assert model.timing(tiny, tiny.space.min()) is timing  # measured once
    assert {"device", "threads", "runtime", "name", "torch", "batch"} <= set(model.hardware())


@pytest.mark.parametrize("kind", [PrefillLatency, DecodeLatency])
def test_language_models_are_timed_with_their_cache(kind):
    llama = BACKBONES["llama"]()
    assert kind(tokens=4, **FAST)(llama, llama.space.min()) > 0


def test_onnxruntime_is_a_runtime(tiny):
    assert 0 < Latency(runtime="onnxruntime", **FAST)(tiny, tiny.space.min()) < 1000


@pytest.mark.slow
def test_compile_is_a_runtime(tiny):
    assert 0 < Latency(runtime="compile", **FAST)(tiny, tiny.space.min()) < 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runtime": "fast"}, "eager, compile, onnxruntime"),
        ({"device": "tpu"}, "cpu or cuda"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_devices_are_refused(options, words):
    with pytest.raises(WsnError, match=words):
        Device(**options)


# -- tables -------------------------------------------------------------------------------------------------


def fixed(parts):
    """Return a table in which each part takes a time of its own."""
    table = LatencyTable()
    from wsn.cost_models.table import key_of

    table.entries = {key_of(p): Timing(1 + i / 7, 0.0, 1) for i, p in enumerate(parts)}
    return table


def test_a_table_adds_up_the_parts_and_comes_back_from_its_file(tiny, tmp_path, rng):
    parts = parts_of_space(tiny, patience=300)
    table = fixed(parts)
    times = {(p.name, p.choice, p.shape): 1 + i / 7 for i, p in enumerate(parts)}
    table.save(tmp_path / "t.json")
    again = LatencyTable(tmp_path / "t.json")
    for _ in range(20):
        subnet = tiny.space.sample(rng)
        expected = sum(times[p.name, p.choice, p.shape] for p in cost_table(tiny).parts(subnet))
        assert again(tiny, subnet) == pytest.approx(expected)


def test_all_parts_of_a_space_are_found(tiny):
    parts = {(p.name, p.choice, p.shape) for p in parts_of_space(tiny, patience=300)}
    # 10 blocks of 2 kernels at 2 resolutions; stem, first block and head at 2 resolutions
    assert len(parts) == 10 * 2 * 2 + 3 * 2


@pytest.mark.slow
def test_a_measured_table_is_near_whole_networks(tiny, rng):
    table = LatencyTable().measure(tiny, Device(), min_seconds=0.01)
    check = table.compare(tiny, [tiny.space.min(), tiny.space.max()], Latency(min_seconds=0.1))
    assert check["mean_error"] < 1  # on a machine that does other things
    assert table.hardware()["batch"] == 1


def test_tables_that_do_not_fit_say_so(tiny, tmp_path):
    with pytest.raises(WsnError, match="has no stem"):
        LatencyTable()(tiny, tiny.space.min())
    with pytest.raises(WsnError, match="Cannot read"):
        LatencyTable(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(WsnError, match="not a latency table"):
        LatencyTable(tmp_path / "bad.json")


def test_blocks_are_measured_elsewhere_through_onnx(tiny, tmp_path):
    parts = parts_of_space(tiny, patience=300)[:3]
    folder = write_onnx_set(tiny, parts, tmp_path / "blocks")
    done = subprocess.run([sys.executable, folder / "measure.py", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = read_measured(folder / "measured.csv", "phone")
    assert table.hardware()["name"] == "phone"
    assert all(t.median_ms > 0 for t in table.entries.values())
    from wsn.cost_models.table import key_of

    assert set(table.entries) == {key_of(p) for p in parts}
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(WsnError, match="columns part, choices, input, median_ms"):
        read_measured(tmp_path / "bad.csv", "x")


@pytest.mark.parametrize(("name", "width"), [("mobilenet", 1.0), ("proxyless", 1.3)])
def test_once_for_alls_tables_are_asked_what_its_own_code_asks(tmp_path, name, width):
    net = wsn.create_supernet(name, width_mult=width)
    for row in KEYS[{"mobilenet": "mobilenetv3"}.get(name, name)]:
        means = {key: {"mean": i + 0.5, "count": 60} for i, key in enumerate(dict.fromkeys(row["keys"]))}
        path = tmp_path / "table.yaml"
        path.write_text(yaml.safe_dump(means))
        depth = row["d"] if name == "mobilenet" else [*row["d"], 1]
        subnet = net.space.subnet(kernel=row["ks"], expand=row["e"], depth=depth, resolution=row["r"])
        assert OFALatencyTable(path)(net, subnet) == pytest.approx(sum(means[key]["mean"] for key in row["keys"]))


def test_bad_ofa_tables_are_refused(tiny, tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("a: {mean: 1.0}")
    with pytest.raises(WsnError, match="has no Conv-input"):
        OFALatencyTable(path)(tiny, tiny.space.min())
    path.write_text("a: 1")
    with pytest.raises(WsnError, match="needs a mean"):
        OFALatencyTable(path)
    with pytest.raises(WsnError, match="Cannot read"):
        OFALatencyTable(tmp_path / "none.yaml")
