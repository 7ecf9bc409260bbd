"""Folders of somebody else are data: nothing in them runs that the user does not trust."""

import json
import shutil
import sys

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import wsn
from wsn import WsnError
from wsn.config import CONF, compose
from wsn.config.trust import _named_in, check_trusted, is_allowed, targets_of
from wsn.deploy.plain import load_module, save_module
from wsn.run.folder import read_config

HOSTILE = [
    "os.system", "subprocess.run", "builtins.eval", "builtins.exec", "sympy.sympify", "torch.hub.load", "numpy.load",
    "numpy.save", "joblib.load", "torch.load", "pickle.loads", "shutil.rmtree", "importlib.import_module",
    "wsn.files.write_atomically", "wsn.files.replacing", "wsn.run.train.train", "wsn.backbones.factory.create_supernet",
    "wsn.files.os.system", "wsn.files.csv", "wsn.errors.WsnError", "wsn.config.make.build",
    "wsn.deploy.plain.shutil.rmtree",
    "hydra.utils.get_method", "hydra.utils.instantiate", "mylab.Backbone", "lightning.Trainer.save_checkpoint",
    "wsn", "wsn.nothing.Here", "", "torch.optim.SGD.__init__", "wsn.samplers.base.Sampler.__init__",
    "wsn.samplers.uniform.UniformSampler.draw", "wsnx.samplers.uniform.UniformSampler",
]  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_what_is_no_part_of_wsn_is_refused_by_name(target, monkeypatch, tmp_path):
    monkeypatch.setenv("WSN_TRUST", "")
    before = set(sys.modules)
    with pytest.raises(WsnError, match="is no part of wsn") as error:
        check_trusted({"method": {"parts": [{"_target_": target, "_partial_": True}]}}, tmp_path / "config.yaml")
    assert "WSN_TRUST=" in str(error.value)
    assert "config.yaml" in str(error.value)
    assert target.startswith("wsn.") or set(sys.modules) == before  # looking at it imports nothing


def test_every_target_of_the_shipped_configs_is_allowed():
    targets = _named_in(CONF)
    assert len(targets) > 60
    assert all(map(is_allowed, targets))
    assert {"torch.optim.SGD", "wsn.init.he_fan_out", "wsn.samplers.fair.FairSampler"} <= targets


@pytest.mark.parametrize("method", ["ofa", "alphanet", "deps", "slimmable"])
def test_a_composed_config_is_trusted(method, monkeypatch):
    monkeypatch.setenv("WSN_TRUST", "")
    cfg = OmegaConf.to_container(compose(CONF, [f"method={method}", "logger=wandb"]), resolve=True)  # as it is saved
    assert len(set(targets_of(cfg))) > 10
    check_trusted(cfg, "config.yaml")


def test_subclasses_of_public_bases_need_no_config(monkeypatch):
    monkeypatch.setenv("WSN_TRUST", "")
    for target in ("wsn.data.multilabel.Stripes", "wsn.samplers.base.Sampler", "wsn.callbacks.common.SupernetCallback"):
        found = is_allowed(target)
        assert found or target.startswith("wsn.data.multilabel")
    assert is_allowed("wsn.samplers.uniform.Sampler")  # another name of the same class


def test_modules_that_the_user_names_are_trusted(monkeypatch, tmp_path):
    node = {"_target_": "mylab.method.Scaled"}
    monkeypatch.setenv("WSN_TRUST", "mylab")
    check_trusted(node, "config.yaml")
    monkeypatch.setenv("WSN_TRUST", "lab")
    with pytest.raises(WsnError, match="mylab"):
        check_trusted(node, "config.yaml")
    check_trusted(node, "config.yaml", ["mylab.method"])
    conf = tmp_path / "method"
    conf.mkdir()
    (conf / "scaled.yaml").write_text("_target_: mylab.method.Scaled\n")
    monkeypatch.setenv("WSN_CONF", str(tmp_path))
    check_trusted(node, "config.yaml")


def test_a_hostile_run_folder_runs_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("WSN_TRUST", "")
    mark = tmp_path / "written"
    (tmp_path / "config.yaml").write_text(
        "method: {_target_: wsn.methods.base.Method, name: x}\nbackbone: {name: mobilenet}\npaths: {run_dir: x}\n"
        f"data: {{_target_: wsn.files.write_atomically, path: {mark}, text: x}}\n"
    )
    for opens in (read_config, wsn.open_run):
        with pytest.raises(WsnError, match="is no part of wsn"):
            opens(tmp_path)
    (tmp_path / "elastic.json").write_text('{"format": 2, "members": [], "statistics": {}}')
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "statistics.safetensors")
    with pytest.raises(WsnError, match="is no part of wsn"):
        wsn.ElasticPredictor(tmp_path)
    assert not mark.exists()


# -- exported modules ------------------------------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path):
    folder = save_module(nn.Sequential(nn.Linear(2, 2)), tmp_path / "module", {})
    assert load_module(folder)(torch.ones(1, 2)).shape == (1, 2)
    return folder


@pytest.mark.parametrize(
    ("home", "name"),
    [("os", "system"), ("subprocess", "Popen"), ("torch.hub", "load"), ("torch", "load"), ("wsn.files", "replacing"),
     ("timm.models", "create_model"), ("torch.utils.data", "DataLoader")],
)  # fmt: skip
def test_a_config_that_names_something_else_is_refused(exported, home, name):
    config = json.loads((exported / "config.json").read_text())
    config["modules"]["0"][:2] = [home, name]
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(WsnError, match="which is not of torch or timm|is no torch.nn.Module"):
        load_module(exported)


def test_code_beside_an_export_runs_only_under_trust(exported, tmp_path):
    mark = tmp_path / "ran"
    (exported / "beside.py").write_text(
        f"import pathlib, torch\npathlib.Path({str(mark)!r}).touch()\nclass Mine(torch.nn.Linear):\n    pass\n"
    )
    config = json.loads((exported / "config.json").read_text())
    config["modules"]["0"][:2] = ["beside", "Mine"]
    config["code"] = ["beside.py"]
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(WsnError, match="trust=True"):
        load_module(exported)
    assert not mark.exists()
    assert load_module(exported, trust=True)(torch.ones(1, 2)).shape == (1, 2)
    assert mark.exists()
    sys.modules.pop("beside")


def test_a_folder_cannot_shadow_timm_or_torch(exported, tmp_path):
    package = exported / "timm"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('ran')")
    assert load_module(exported)(torch.ones(1, 2)).shape == (1, 2)
    shutil.rmtree(package)


@pytest.mark.parametrize("data", ["${oc.decode:${x}}", "{a: '${oc.create:${x}}'}", "'${x}'", "['${oc.env:HOME}']"])
def test_a_target_that_an_interpolation_would_make_is_refused(data, monkeypatch, tmp_path):
    """``oc.decode`` makes a mapping, and so a target, of a text."""
    monkeypatch.setenv("WSN_TRUST", "")
    mark = tmp_path / "written"
    (tmp_path / "config.yaml").write_text(
        "method: {_target_: wsn.methods.base.Method, name: x}\nbackbone: {name: mobilenet}\npaths: {run_dir: x}\n"
        f'x: "{{_target_: wsn.files.write_atomically, path: {mark}, text: x}}"\ndata: {data}\n'
    )
    with pytest.raises(WsnError, match="saved configs have no interpolations"):
        read_config(tmp_path)


def test_a_users_config_that_names_a_part_of_a_package_trusts_that_part_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("WSN_TRUST", "")
    monkeypatch.setenv("WSN_CONF", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("_target_: torch.optim.Adagrad\n")
    check_trusted({"_target_": "torch.optim.Adagrad"}, "config.yaml")
    with pytest.raises(WsnError, match="is no part of wsn"):
        check_trusted({"_target_": "torch.optim.Adam"}, "config.yaml")
