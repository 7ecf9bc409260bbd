"""Backbone, method, sampler and data set of a user, outside the repository: they train, search and export."""

import torch

import wsn
from wsn.config import CONF, check, compose
from wsn.deploy.plain import load_module
from wsn.run.train import train

OUTSIDE = CONF.parent / "tests" / "assets" / "outside"
OVERRIDES = [
    "backbone=residual_cnn",
    "method=scaled",
    "data=patterns",
    "evaluation.panel=1",
    "trainer.enable_progress_bar=false",
]


def test_from_training_to_export(tmp_path, monkeypatch):
    monkeypatch.setenv("WSN_CONF", str(OUTSIDE / "conf"))
    monkeypatch.syspath_prepend(OUTSIDE)
    cfg = compose(CONF, [*OVERRIDES, f"paths.run_dir={tmp_path / 'run'}"])
    check(cfg)
    train(cfg)
    run = wsn.open_run(tmp_path / "run")
    assert [type(part).__module__ for part in (run.net, run.method, run.data)] == [
        "mylab.backbone", "mylab.method", "mylab.data",
    ]  # fmt: skip
    assert run.net.space.size() == 3 + 9
    rows = run.evaluate("largest")
    assert rows[0]["acc"] > 0.6  # of three classes
    front = run.search("random", evaluations=6)
    assert front
    out = run.export("smallest", out=str(tmp_path / "small"))
    images = torch.randn(4, 2, 8, 8)
    with torch.no_grad():
        expected = run.net.extract(run.find("smallest"))(images)
    assert load_module(out / "module")(images).shape == expected.shape == (4, 3)
