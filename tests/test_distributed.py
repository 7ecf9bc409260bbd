"""Two gloo processes against one process that accumulates the same two half batches."""

import json

import pytest
import torch
from helpers.scripts import PHASES, SMALL, command, the_run, weights

from wsn.files import read_csv

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]
BASE = [s for s in [*SMALL, *PHASES] if not s.startswith(("data.batch_size", "trainer.limit"))]
# Dropout draws differ by rank. BN over a few values amplifies rounding tenfold a step: hence float64, one step a phase.
BASE += ["data.batch_size=8", "data.images_per_epoch=null", "backbone.drop_rate=0", "trainer.precision=64-true"]


BIGNAS = ["method=bignas", *[s for s in BASE if "phases" not in s], "method.phases.0.epochs=1", "evaluation.panel=0"]
BIGNAS += ["~evaluation.named.largest", "~evaluation.named.middle"]  # float64 is slow


@pytest.mark.parametrize(
    ("settings", "trainer"),
    [
        (BIGNAS, "ddp"),
        pytest.param(BASE, "ddp", marks=pytest.mark.slow),
        pytest.param(BIGNAS, "ddp_spawn", marks=pytest.mark.slow),
    ],
    ids=["bignas", "every phase of OFA and its teacher", "spawn"],
)
def test_two_processes_equal_one(tmp_path, settings, trainer):
    """Same subnets on each rank, gradients averaged once a step."""
    command("train.py", *settings, "optim.accumulate=2", "trainer.limit_train_batches=2", out=tmp_path / "single")
    overrides = [f"trainer={trainer}", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=1"]
    command("train.py", *settings, *overrides, out=tmp_path / "double")
    single, run = the_run(tmp_path / "single"), the_run(tmp_path / "double")
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
    probe = ["+callbacks.note._target_=helpers.probes.NoteDraws", f"+callbacks.note.folder={tmp_path}"]
    command("train.py", *SMALL, *overrides, *probe, out=tmp_path)
    first, second = (json.loads((tmp_path / f"draws-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len({d for step in first for d in step}) > 5
