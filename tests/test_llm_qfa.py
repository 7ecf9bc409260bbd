"""LLM-QFA: the schedule of mean bit-widths, what trains, and a whole run from the rounding to an exported subnet."""

import copy
import shutil
import statistics
from collections import Counter

import pytest
import torch
from helpers.configs import CONF, LANGUAGE
from helpers.training import make_trainer
from transformers import AutoModelForCausalLM

import wsn
from wsn.config import build, build_data, compose
from wsn.cost_models.counted import WeightBytes
from wsn.files import read_csv, write_atomically
from wsn.methods.llm_qfa import bits_space
from wsn.run.evaluate import evaluate_run
from wsn.run.export import export_run
from wsn.run.run import open_run
from wsn.run.search import search_run
from wsn.run.train import make_module, train
from wsn.samplers.resource_balanced import ResourceBalancedSampler
from wsn.samplers.uniform import UniformSampler
from wsn.space import Dimension, SearchSpace

SMALL = [
    "method=llm_qfa",
    *LANGUAGE,
    "backbone.num_layers=3",
    "backbone.hidden_size=32",
    "backbone.ffn_size=64",
    "data.images_per_epoch=16",
    "data.batch_size=4",
    "data.val_size=8",
    "data.eval_batch_size=32",
    "data.sequence_length=16",
    "sampler.period=6",
    "method.batches=1",
    "method.rank=4",
    "method.phases.0.epochs=2",
    "evaluation.panel=2",
]


def config(tmp_path, *overrides):
    files = [f"paths.output_dir={tmp_path}", f"paths.run_dir={tmp_path}/run"]
    return compose(CONF, [*SMALL, *files, *overrides])


# -- the sampler --------------------------------------------------------------------------------------------


def bits_of(layers, choices=(2, 3, 4)):
    return SearchSpace([Dimension("bits", list(choices), layers, "block")], [layers])


def means(sampler, steps):
    return [statistics.mean(sampler.sample(step)[0].subnet["bits"]) for step in steps]


def test_the_mean_follows_the_schedule():
    sampler = ResourceBalancedSampler(bits_of(32), seed=3, period=8000)
    for step, mean in zip(range(0, 16001, 53), means(sampler, range(0, 16001, 53))):
        t = step % 8000
        assert abs(mean - (2 + 2 * abs(2 * t / 8000 - 1))) <= 0.5 / 32
    assert sampler.sample(0)[0].subnet == sampler.space.max()
    assert sampler.sample(4000)[0].subnet == sampler.space.min()
    middle = [sampler.sample(2000 + 8000 * i)[0].subnet["bits"] for i in range(40)]
    assert len(set(middle)) == 40  # which layers have them is random
    assert Counter(b for bits in middle for b in bits).keys() == {2, 3, 4}


def test_every_mean_is_as_frequent():
    """Over a period the means are flat between 2 and 4, where uniform draws concentrate by the root of the layers."""
    steps, layers = range(2000), 32
    balanced = means(ResourceBalancedSampler(bits_of(layers), period=2000), steps)
    uniform = means(UniformSampler(bits_of(layers)), steps)
    assert statistics.pstdev(balanced) == pytest.approx(2 / 12**0.5, rel=0.02)
    assert statistics.pstdev(uniform) == pytest.approx((2 / 3 / layers) ** 0.5, rel=0.1)
    assert statistics.pstdev(balanced) > 3.5 * statistics.pstdev(uniform)
    tenths = Counter(min(int(5 * (mean - 2)), 9) for mean in balanced)
    assert all(150 < tenths[i] < 250 for i in range(10))
    assert sum(abs(mean - 3) < 0.5 for mean in uniform) > 1980


def test_draws_depend_on_the_step_alone():
    space = bits_of(5)
    first = [ResourceBalancedSampler(space, seed=1, period=9).sample(step) for step in range(20)]
    again = ResourceBalancedSampler(space, seed=1, period=9)
    assert [again.sample(step) for step in reversed(range(20))] == first[::-1]
    other = ResourceBalancedSampler(space, seed=2, period=9)
    assert [other.sample(step) for step in range(20)] != first


def test_it_needs_the_dimension():
    space = SearchSpace([Dimension("ffn", [8, 16], 2, "block")], [2])
    with pytest.raises(wsn.WsnError, match="method=llm_qfa"):
        ResourceBalancedSampler(space)
    with pytest.raises(wsn.WsnError, match="period"):
        ResourceBalancedSampler(space, dimension="ffn", period=1)
    both = SearchSpace([Dimension("ffn", [8, 16], 2, "block"), Dimension("depth", [1, 2], 1, "stage")], [2])
    drawn = {ResourceBalancedSampler(both, dimension="ffn", period=8).sample(step)[0].subnet for step in range(64)}
    assert {s["depth"] for s in drawn} == {(1,), (2,)}


# -- training -----------------------------------------------------------------------------------------------


def test_only_loras_train(tmp_path):
    cfg = config(tmp_path)
    module = make_module(cfg)
    net = module.supernet
    assert net.space.size() == 3**3
    before = copy.deepcopy(net.state_dict())
    assert all(before[name].any() for name in before if name.endswith("scales"))
    make_trainer(epochs=2).fit(module, datamodule=build_data(cfg.data))
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"down", "up"}
    assert {name.split(".")[-2] for name in moved} == {"2", "3", "4"}


def test_rounded_weights_are_kept_in_a_file(tmp_path, monkeypatch):
    def made(*overrides):
        torch.manual_seed(0)
        return make_module(config(tmp_path, *overrides)).supernet.state_dict()

    first = made()
    (kept,) = (tmp_path / "quantised").iterdir()
    monkeypatch.setattr("wsn.methods.llm_qfa.round_gptq", None)
    again = made()
    names = [name for name in first if name.endswith(("planes", "scales", "zeros"))]
    assert len(names) == 3 * 3 * 7 * 3
    assert all(torch.equal(first[name], again[name]) for name in names)
    made("method.rounding=nearest")
    assert len(list(kept.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method.rounding=luck"], "gptq, nearest"),
        (["method.bits=[1,4]"], "from 2 to 8"),
        (["method.group=48"], "method.group=32"),
    ],
)
def test_mistakes_are_one_clear_error(tmp_path, overrides, words):
    with pytest.raises(wsn.WsnError, match=words):
        make_module(config(tmp_path, *overrides))


def test_it_takes_a_language_model(tmp_path):
    cfg = compose(CONF, ["method=llm_qfa", "backbone=llama", "data=shakespeare", f"paths.output_dir={tmp_path}"])
    with pytest.raises(wsn.WsnError, match="backbone=llama"):
        build(cfg.method).prepare(wsn.create_supernet("mobilenet", resolution=32))


def test_a_run_and_what_follows(tmp_path, monkeypatch):
    """Train, resume, evaluate, search within bytes, export; nothing but the first rounds weights."""
    lines = [f"What dreams may come, {n} times over, must give us pause." for n in range(200)]
    for name, part in (("train", lines[:190]), ("test", lines[190:])):
        (tmp_path / f"{name}.txt").write_text(" ".join(part))
    text = [f"data.{name}={tmp_path}/{name}.txt" for name in ("train", "test")]
    train(config(tmp_path, *text, "trainer.max_epochs=1"))
    run = tmp_path / "run"
    before = open_run(run).net.state_dict()
    shutil.rmtree(tmp_path / "quantised")
    monkeypatch.setattr("wsn.methods.llm_qfa.round_gptq", None)
    write_atomically(run / "config.yaml", (run / "config.yaml").read_text().replace("max_epochs: 1", "max_epochs: 2"))
    train(config(tmp_path, f"resume={run}"))
    moved = {name for name, value in open_run(run).net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"down", "up"}
    net = open_run(run).net
    low, high = (WeightBytes()(net, s) for s in (net.space.min(), net.space.max()))
    budget = (low + high) / 2
    options = ["cost=weight_bytes", f"constraints='weight_bytes<={budget}'", "search=evolution", "search.population=4"]
    search_run(compose("conf", [f"run={run}", *options, "evaluations=8", "name=bytes"], "search"))
    rows = read_csv(run / "search" / "bytes" / "evaluations.csv")
    assert len(rows) == 8
    for r in rows:
        assert r["weight_bytes"] == WeightBytes()(net, net.space.find(r["arch"])) <= budget
    cfg = compose("conf", [f"run={run}", "split=val", "subnet=best", "format=huggingface"], "export")
    folder = export_run(cfg) / "huggingface"
    best = max((r for r in rows), key=lambda r: -r["bits_per_byte"])
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.randint(0, 256, (2, 8))
    with torch.no_grad():
        expected = net(tokens, net.space.find(best["arch"])).logits
        torch.testing.assert_close(loaded(tokens).logits, expected, rtol=1e-4, atol=1e-4)
    (found,) = evaluate_run(compose("conf", [f"run={run}", "split=val", "subnet=best"], "evaluate"))
    assert found["bits_per_byte"] == pytest.approx(best["bits_per_byte"], rel=1e-5)


def test_bits_space_of_a_network_that_skips_layers():
    net = wsn.create_supernet("llama", num_layers=3, hidden_size=32, num_heads=4, ffn_size=64)
    space = bits_space(net.space, [2, 3, 4])
    assert space.max()["layers"] == (1, 1, 1)
    assert space.size() == 27
