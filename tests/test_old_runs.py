"""A run folder and exports of version 0.1 (tests/assets/run_0.1) are resumed, evaluated, exported and loaded."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.scripts import command

import wsn
from wsn.files import read_csv

OLD = Path(__file__).parent / "assets" / "run_0.1"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The run, which was killed in its fifth of six phases, run to its end."""
    out = tmp_path_factory.mktemp("old")
    shutil.copytree(OLD, out / "run")
    command("train.py", f"resume={out / 'run'}", out=out)
    return out / "run"


def by_subnet(path, split):
    return {(r["step"], r["id"]): r for r in read_csv(path) if r["split"] == split}


def test_an_old_run_resumes_to_what_it_would_have_been(resumed):
    whole, found = OLD / "whole", resumed
    for split in ("val", "test"):
        expected, rows = by_subnet(whole / "subnets.csv", split), by_subnet(found / "subnets.csv", split)
        assert rows.keys() == expected.keys()
        for key, row in expected.items():
            assert (rows[key]["macs"], rows[key]["params"]) == (row["macs"], row["params"])
            assert rows[key]["loss"] == pytest.approx(row["loss"], rel=0.02)  # another processor rounds differently
    last, expected = (read_csv(folder / "metrics.csv") for folder in (found, whole))
    rates = [[row["train/lr"] for row in rows if row.get("train/lr") is not None] for rows in (last, expected)]
    assert rates[0] == pytest.approx(rates[1])


def test_an_old_run_is_evaluated_and_exported(resumed, tmp_path):
    command("evaluate.py", f"run={resumed}", "subnet=smallest", out=tmp_path)
    smallest = min((r for r in read_csv(resumed / "subnets.csv") if r["split"] == "test"), key=lambda r: r["macs"])
    (row,) = read_csv(resumed / "evaluation.csv")
    assert (row["id"], row["acc"]) == (smallest["id"], smallest["acc"])
    command(
        "export.py", f"run={resumed}", "subnet=smallest", "format=module", f"out={tmp_path / 'small'}", out=tmp_path
    )
    assert (tmp_path / "small" / "module" / "model.safetensors").exists()


def test_old_exports_load():
    predictor = wsn.ElasticPredictor(OLD / "export" / "elastic")
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert predictor(images).shape == (2, 10)
    from wsn.deploy.plain import load_module

    module = load_module(OLD / "export" / "module")
    smallest = predictor(images, budget="macs<=9.5e4")
    torch.testing.assert_close(module(images), smallest, rtol=1e-3, atol=1e-4)
