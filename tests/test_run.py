"""A run, opened in Python: config, network, data, the grammar of subnets, and the verbs."""

import json

import pytest
import torch
from helpers.documents import block
from omegaconf import OmegaConf

import wsn
from wsn.callbacks.checkpoint import StepCheckpoint, load_checkpoint
from wsn.config import CONF, compose
from wsn.config.moved import FORMAT
from wsn.errors import WsnError
from wsn.files import read_csv
from wsn.run.train import train

SMALL = [
    "method=bignas", "backbone=mobilenet", "data=fashion_mnist_small", "backbone.depth=[1,2]", "backbone.kernel=[3]",
    "backbone.expand=[2,3]", "backbone.width_mult=0.2", "data.hints.reduction=32", "data.batch_size=16",
    "data.images_per_epoch=48", "data.val_size=64", "data.eval_batch_size=500", "data.calibration_images=32",
    "evaluation.panel=2", "evaluation.every_n_epochs=1", "method.phases.all.epochs=3",
    "trainer.enable_progress_bar=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(compose(CONF, [*SMALL, f"paths.run_dir={folder}"]))
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return wsn.open_run(folder)


def test_everything_is_made_once(run, monkeypatch):
    assert run.net is run.net
    assert run.data is run.data
    assert run.method.name == run.config.method.name == "bignas"
    assert not run.net.training
    monkeypatch.setattr("wsn.run.run.read_config", None)  # read when it was opened
    assert run.net.space.to_json() == (run.folder / "space.json").read_text()


def test_an_id_that_evaluate_printed_can_be_named(run):
    rows = run.evaluate(panel=5, split="val", out="five.csv")
    known = {r["id"] for r in read_csv(run.folder / "subnets.csv")}
    new = [r for r in rows if r["id"] not in known]
    assert new
    assert run.find(new[0]["id"]).to_json() == new[0]["arch"]
    again = run.evaluate(new[0]["id"], split="val", out="one.csv")
    assert [r["acc"] for r in again] == [new[0]["acc"]]


def test_the_grammar_of_subnets(run):
    space, rows = run.net.space, run.rows
    assert run.find("largest") == space.max()
    assert run.find({"depth": 1}) == space.subnet(depth=1)
    assert run.find("{depth: 1}") == space.subnet(depth=1)
    best = max(rows, key=lambda r: r["acc"])
    assert run.find("best").id == best["id"]
    limit = sorted(r["macs"] for r in rows)[1]
    within = max((r for r in rows if r["macs"] <= limit), key=lambda r: r["acc"])
    assert run.find(f"best@macs<={limit}").id == within["id"]
    assert [s.id for s in run.find_all("front")] == [r["id"] for r in run.front]
    with pytest.raises(WsnError, match="no subnet has macs<=1"):
        run.find("best@macs<=1")
    with pytest.raises(WsnError, match="not the id"):
        run.find("0123456789")


def test_search_and_export_from_python(run, tmp_path):
    front = run.search("random", evaluations=4, group=4, name="here", cost=["macs", "params"])
    assert {r["id"] for r in front} <= {r["id"] for r in read_csv(run.folder / "search" / "here" / "evaluations.csv")}
    out = run.export("smallest", out=str(tmp_path / "small"))
    index = json.loads((out / "index.json").read_text())
    assert (index["format"], index["wsn_version"]) == (FORMAT, wsn.__version__)
    (row,) = index["subnets"]
    (export,) = index["exports"]
    assert export["measured"] == pytest.approx(row["acc"], abs=1e-3)
    with pytest.raises(WsnError, match="export has no option 'frmat'"):
        run.export("smallest", frmat="onnx")
    with pytest.raises(WsnError, match="evaluate"):
        run.evaluate(panel="many")


def test_an_export_reads_the_config_once_and_calibrates_once(folder, tmp_path, monkeypatch):
    import wsn.evaluation.evaluate as module
    import wsn.run.run as opened

    read, calibrated = [], []
    real, calibrating = opened.read_config, module.calibrating
    monkeypatch.setattr(opened, "read_config", lambda f, trust: read.append(f) or real(f, trust))
    monkeypatch.setattr(module, "calibrating", lambda views: calibrated.append(len(views)) or calibrating(views))
    wsn.open_run(folder).export("smallest", out=str(tmp_path / "small"))
    assert len(read) == 1
    assert calibrated == [1]


def test_readmes_lines(run):
    """A run, evaluated, searched, exported and served, as README has it."""
    code = block("python: run", "python").replace("outputs/first", str(run.folder))
    code = code.replace("evaluations=100", "evaluations=8")
    names = {"wsn": wsn}
    exec(code, names)
    assert names["logits"].shape == (len(names["images"]), 10)
    assert names["subnet"].id == names["rows"][0]["id"]
    assert len(names["front"])


def test_an_export_loads_by_torch_hub(run, tmp_path):
    out = run.export("smallest", out=str(tmp_path / "small"))
    network = torch.hub.load(str(out / "module"), "subnet", source="local", trust_repo=True)
    images = next(iter(run.data.val_dataloader()))[0][:2]
    assert network(images).shape == (2, 10)


def test_another_checkpoint(folder):
    run, best = wsn.open_run(folder), wsn.open_run(folder, checkpoint="best")
    assert best.checkpoint.name == "best.ckpt"
    rows = read_csv(folder / "metrics.csv")
    volumes = {r["epoch"]: r["pareto/hypervolume"] for r in rows if r["pareto/hypervolume"] is not None}
    chosen = load_checkpoint(best.checkpoint)
    assert chosen["epoch"] == max(volumes, key=lambda epoch: volumes[epoch])
    given = wsn.open_run(folder, checkpoint=folder / "checkpoints" / "last.ckpt")
    for (name, a), (_, b) in zip(run.net.state_dict().items(), given.net.state_dict().items()):
        assert torch.equal(a, b), name
    with pytest.raises(WsnError, match="has best, last"):
        wsn.open_run(folder, checkpoint="nowhere.ckpt")


def test_the_best_checkpoint_is_chosen_by_a_named_subnet_too(tmp_path):
    chosen = StepCheckpoint(tmp_path, monitor="val/smallest/loss")
    assert chosen._better({"val/smallest/loss": 2.0})
    assert not chosen._better({"val/smallest/loss": 2.5})
    assert chosen._better({"val/smallest/loss": 1.5})
    again = StepCheckpoint(tmp_path, monitor="val/smallest/loss")
    again.load_state_dict(chosen.state_dict())
    assert not again._better({"val/smallest/loss": 1.7})
    with pytest.raises(WsnError, match="there are val/smallest/loss"):
        StepCheckpoint(tmp_path, monitor="val/middle/acc")._better({"val/smallest/loss": 1.0})


def test_mistakes(folder, tmp_path):
    with pytest.raises(WsnError, match="does not exist"):
        wsn.open_run(tmp_path / "none")
    with pytest.raises(WsnError, match="data.speed is not an option"):
        wsn.open_run(folder, data={"speed": 1})


def test_what_a_newer_version_wrote_is_refused(folder, tmp_path):
    cfg = OmegaConf.load(folder / "config.yaml")
    assert (cfg.format, cfg.wsn_version) == (FORMAT, wsn.__version__)
    checkpoint = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (checkpoint["format"], checkpoint["wsn_version"]) == (FORMAT, wsn.__version__)
    cfg.format, cfg.wsn_version = FORMAT + 1, "9.0"
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    with pytest.raises(WsnError, match=r"written by wsn 9\.0.*Update wsn"):
        wsn.open_run(tmp_path)
