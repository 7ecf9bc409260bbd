"""Two gloo processes against one process that accumulates the same two half batches."""

import json

import pytest
import torch
from test_train import SMALL, command, the_run, weights

from wsn.pareto import read_csv

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]
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


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["attentive", "shift", "path_importance"])
def test_samplers_with_feedback_draw_the_same_on_every_rank(tmp_path, sampler):
    """Scores, evaluations and gradients reach all ranks alike."""
    overrides = ["method=spos", f"sampler={sampler}", "method.phases.0.epochs=3", "method.phases.0.warmup_epochs=0"]
    overrides += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "evaluation.every_n_epochs=1"]
    probe = ["+callbacks.note._target_=probes.NoteDraws", f"+callbacks.note.folder={tmp_path}"]
    small = [s for s in SMALL if "phases" not in s]
    command("train.py", *small, *overrides, *probe, out=tmp_path)
    first, second = (json.loads((tmp_path / f"draws-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len({d for step in first for d in step}) > 5
