"""AmoebaLLM: the shapes of a step, what trains, and whole runs that are killed in either stage."""

import collections
import copy
import json
import subprocess
import sys
import time

import pytest
import torch
from helpers.configs import CONF, LANGUAGE
from helpers.scripts import ROOT, command, start, the_run
from helpers.training import make_trainer
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

import wsn
from wsn.backbones.transformer import shape_space
from wsn.callbacks.checkpoint import load_checkpoint
from wsn.config import build, build_data, build_group, compose
from wsn.cost_models.macs import cost
from wsn.files import read_csv
from wsn.providers.quantised import take_layout
from wsn.run.finetune import adopt_run, load_start
from wsn.run.run import open_run
from wsn.run.train import make_module, train
from wsn.samplers.shapes import ShapeSampler

ROLES = ["max", "random", "random", "min"]
SMALL = [
    "method=amoeba",
    *LANGUAGE,
    "backbone.num_layers=5",
    "backbone.hidden_size=32",
    "backbone.ffn_size=64",
    "data.images_per_epoch=24",
    "data.batch_size=4",
    "data.val_size=8",
    "data.eval_batch_size=4",
    "data.sequence_length=32",
    "optim.accumulate=2",
    "method.selection.min_depth=3",
    "method.selection.batches=2",
    "method.lora.rank=4",
    "method.phases.0.epochs=1",
    "method.phases.0.lr=0.003",
    "evaluation.panel=2",
]


def shapes(depths=(3, 4, 5, 6), width=(0.5, 0.75, 1.0)):
    net = wsn.create_supernet("llama", num_layers=6, hidden_size=32, num_heads=4, ffn_size=64)
    return shape_space(net.space, {d: range(d) for d in depths}, width, {"heads": 2, "ffn": 8})


def test_the_shapes_of_a_step():
    space = shapes()
    sampler = ShapeSampler(space, seed=3, roles=ROLES, shared=())
    seen = collections.Counter()
    for step in range(300):
        for micro_batch in range(2):
            draws = sampler.sample(step, micro_batch)
            assert [d.role for d in draws] == ROLES
            assert draws[0].subnet == space.max()
            assert draws[-1].subnet == space.min()
            a, b = (d.subnet for d in draws[1:3])
            assert a["width"] != b["width"]  # without repetition
            seen.update(("width", s["width"]) for s in (a, b))
            seen.update(("depth", s["depth"]) for s in (a, b))
            assert draws == ShapeSampler(space, seed=3, roles=ROLES, shared=()).sample(step, micro_batch)
        assert sampler.sample(step, 0) != sampler.sample(step, 1) or step != 0
    assert {value for name, value in seen if name == "depth"} == {3, 4, 5}  # the largest is the first subnet's alone
    expected = {"depth": 400, "width": 400}
    assert all(abs(count - expected[name]) < 80 for (name, _), count in seen.items())  # uniform: 5 sigma
    only = ShapeSampler(shapes(depths=[6]), roles=ROLES, shared=())
    assert only.sample(0)[1].subnet["depth"] == 6


def test_shapes_need_depth_and_enough_widths():
    with pytest.raises(wsn.WsnError, match="method=amoeba"):
        ShapeSampler(wsn.create_supernet("llama").space)
    with pytest.raises(wsn.WsnError, match="3 random subnets"):
        ShapeSampler(shapes(width=[0.5, 1.0]), roles=["random"] * 3, shared=()).sample(0)


def config(tmp_path, *overrides):
    files = [f"paths.output_dir={tmp_path}", f"paths.run_dir={tmp_path}/run"]
    return compose(CONF, [*SMALL, *files, *overrides])


def test_only_loras_and_gate_train(tmp_path):
    cfg = config(tmp_path)
    torch.manual_seed(0)
    module = make_module(cfg)
    net = module.supernet
    assert net.space.size() == 3 * 4
    table = json.loads((tmp_path / "run" / "selection" / "depth.json").read_text())["keep"]
    for depth, layers in table.items():
        assert [at for _, _, at in net.space.kept(net.space.subnet(depth=int(depth)))] == layers
    before = copy.deepcopy(net.state_dict())
    run = make_trainer()
    run.fit(module, datamodule=build_data(cfg.data))
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("providers.1.") for name in moved)
    assert {name.split(".")[2] for name in moved} == {"down", "up", "gate"}
    metrics = run.callback_metrics
    roles = [metrics[f"train/loss/{role}"].item() for role in ("max", "random", "min")]
    assert roles == pytest.approx([roles[0]] * 3, rel=1e-5)  # balanced


@pytest.mark.parametrize("base", [pytest.param("int8", marks=pytest.mark.slow), "int4"])
def test_loras_train_on_a_base_of_few_bits(base, tmp_path):
    """Views slice the quantised weights; extraction merges; a checkpoint holds them."""
    pytest.importorskip("torchao")
    wide = ["backbone.hidden_size=64", "backbone.ffn_size=128", "backbone.num_heads=2", "backbone.kv_heads=2"]
    cfg = config(tmp_path, *wide, f"method.base={base}")
    module = make_module(cfg)
    net = module.supernet
    assert not any(p.requires_grad for p in net.model.parameters())

    def quantised():
        found = {n: p for n, p in net.model.named_parameters() if type(p).__module__.startswith("torchao")}
        return {n: p.dequantize().clone() for n, p in found.items()}

    before = quantised()
    assert len(before) == 5 * 7
    make_trainer().fit(module, datamodule=build_data(cfg.data))
    assert all(torch.equal(p, before[n]) for n, p in quantised().items())
    assert any(p.abs().sum() > 0 for p in net.providers[1].up.values())
    net.eval()
    x = torch.randint(0, 256, (2, 9))
    with torch.no_grad():
        for subnet in (net.space.max(), net.space.subnet(depth=4, width=0.75), net.space.min()):
            plain = net.extract(subnet)
            assert {type(p) for p in plain.parameters()} == {torch.nn.Parameter}
            torch.testing.assert_close(net(x, subnet).logits, plain(x).logits, rtol=1e-3, atol=1e-4)
            assert wsn.cost(net, subnet).macs > 0
    torch.save({"state_dict": net.state_dict()}, tmp_path / "last.ckpt")
    read = "import sys; from wsn.callbacks.checkpoint import load_checkpoint; load_checkpoint(sys.argv[1])"
    subprocess.run([sys.executable, "-c", read, str(tmp_path / "last.ckpt")], check=True, cwd=ROOT)
    again = build(cfg.method).prepare(build_group(cfg.backbone), net.space).eval()
    state = load_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    take_layout(again, state)  # nothing is quantised anew
    again.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(again(x, net.space.min()).logits, net(x, net.space.min()).logits)


def test_without_loras_all_weights_train(tmp_path):
    cfg = config(tmp_path, "method.lora=null", "method.compensate=false", "method.selection.depth=block_influence")
    module = make_module(cfg)
    assert not len(module.supernet.providers)
    assert all(p.requires_grad for p in module.supernet.parameters())


def test_mistakes(tmp_path):
    for wrong, text in (
        ("backbone.depth=[4,5]", "backbone.depth=null"),
        ("method.base=int3", "int8, int4"),
        ("method.selection.depth=luck", "block_influence"),
    ):
        with pytest.raises(wsn.WsnError, match=text):
            make_module(config(tmp_path, wrong))
    with pytest.raises(wsn.WsnError, match=r"method\.lora"):
        make_module(config(tmp_path, "method.base=int8", "method.lora=null"))


def test_one_shape_alone_is_a_space():
    space = shapes()
    for depth in (3, 6):
        for width in (0.5, 0.75, 1.0):  # skipped layers have no width of their own to restrict
            subnet = space.subnet(depth=depth, width=width)
            assert space.only(subnet).size() == 1
            assert space.only(subnet).max() == subnet


@pytest.mark.slow
def test_a_shape_is_fine_tuned_alone_from_its_merged_weights(tmp_path):
    torch.manual_seed(0)
    cfg = config(tmp_path, "trainer.enable_progress_bar=false")
    OmegaConf.resolve(cfg)
    train(cfg)
    net, run = open_run(cfg.paths.run_dir).net, cfg.paths.run_dir
    subnet = net.space.subnet(depth=3, width=0.75)
    start = ["method=finetune", f"run={run}", "subnet={depth: 3, width: 0.75}", "optim=adamw"]
    alone = adopt_run(
        compose(
            CONF, [*start, f"paths.run_dir={tmp_path}/alone", "method.phases.0.lr=0.001", "method.phases.0.epochs=1"]
        )
    )
    OmegaConf.resolve(alone)
    module = make_module(alone)
    load_start(alone, module)
    tokens, single = torch.arange(20).unsqueeze(0), module.supernet
    with torch.no_grad():
        expected = net(tokens, subnet).logits
        found = single.predict(single.model.eval(), tokens, single.space.max())
    torch.testing.assert_close(found, expected)
    assert cost(single, single.space.max()) == cost(net, subnet)
    before = copy.deepcopy(single.state_dict())
    make_trainer().fit(module, datamodule=build_data(alone.data))
    assert all(not torch.equal(value, before[name]) for name, value in single.state_dict().items())


# -- whole runs ----------------------------------------------------------------------------------------------


LARGER = [*SMALL, "evaluation.panel=0", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every_n_steps=1"]
LARGER += ["trainer.enable_progress_bar=false", "paths.output_dir=${oc.env:OUT}", "paths.run_dir=${oc.env:OUT}/run"]


def killed_when(condition, *overrides, out):
    """Run train.py until the condition holds, then kill it; how it ends otherwise is an error."""
    process = start("train.py", *overrides, out=out)
    while not condition():
        assert process.exitcode is None, "it ended by itself"
        time.sleep(0.002)
    process.kill()
    process.join()


def rows_in(out):
    found = list(out.glob("selection/*/depth.json"))
    return len(json.loads(found[0].read_text()).get("rows", [])) if found else 0


@pytest.mark.slow
def test_a_run_killed_in_either_stage_ends_as_an_uninterrupted_one(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    command("train.py", *LARGER, out=whole)
    killed_when(lambda: rows_in(out) >= 2, *LARGER, out=out)
    rows = rows_in(out)
    assert 2 <= rows < 5  # in the middle of the dynamic programming: no result yet
    assert not (out / "run" / "selection" / "depth.json").exists()
    checkpoint = out / "run" / "checkpoints" / "last.ckpt"
    killed_when(checkpoint.exists, *LARGER, out=out)
    command("train.py", f"resume={out}/run", out=out)
    names = ["depth.json", "width.pt"]
    assert (out / "run/selection" / names[0]).read_text() == (whole / "run/selection" / names[0]).read_text()
    first, second = (read_csv(folder / "run" / "subnets.csv") for folder in (whole, out))
    assert [{**r, "arch": None} for r in first] == [{**r, "arch": None} for r in second]
    for shape in ("smallest", "largest"):
        command("export.py", f"run={out}/run", f"subnet={shape}", "format=huggingface", f"out={out}/{shape}", out=out)
        index = json.loads((out / shape / "index.json").read_text())["exports"][0]
        assert index["measured"] == pytest.approx(index["supernet"], rel=1e-4)
        assert AutoModelForCausalLM.from_pretrained(out / shape / "huggingface").config.num_hidden_layers in (3, 5)
    assert the_run(out) == out / "run"
