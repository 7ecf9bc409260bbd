"""Two gloo processes against one process that accumulates the same two half batches."""

import pytest
import torch
from test_train import SMALL, command, the_run, weights

from wsn.pareto import read_csv

pytestmark = pytest.mark.ddp
BASE = [s for s in SMALL if not s.startswith(("data.batch_size", "trainer.limit"))]
# Dropout draws differ by rank. BN over a few values amplifies rounding tenfold a step: hence float64, one step a phase.
BASE += ["data.batch_size=8", "data.images_per_epoch=null", "backbone.drop_rate=0", "trainer.precision=64-true"]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    out = tmp_path_factory.mktemp("single")
    command("train.py", *BASE, "optim.accumulate=2", "trainer.limit_train_batches=2", out=out)
    return the_run(out)


@pytest.mark.parametrize("trainer", ["ddp", pytest.param("ddp_spawn", marks=pytest.mark.slow)])
def test_two_processes_equal_one(single, tmp_path, trainer):
    """Same subnets on each rank, gradients averaged once a step, every phase of OFA and its teacher included."""
    overrides = [f"trainer={trainer}", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=1"]
    command("train.py", *BASE, *overrides, out=tmp_path)
    run = the_run(tmp_path)
    one, two = weights(single), weights(run)
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:  # each rank has statistics of its own
            torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    evaluated = [[r["id"] for r in read_csv(folder / "subnets.csv")] for folder in (single, run)]
    assert evaluated[0] == evaluated[1]
