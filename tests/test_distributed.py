"""Two gloo processes against one process that accumulates the same two half batches."""

import json

import pytest
import torch
from helpers.scripts import PHASES, SMALL, command, kill_at, the_run, weights

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


DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
SPOS = ["method=spos", "method.phases.0.epochs=4", "method.phases.0.warmup_epochs=0"]


def draws(folder):
    return [json.loads((folder / f"draws-{rank}.json").read_text()) for rank in (0, 1)]


FEEDBACK = {
    "attentive": "sampler=attentive", "path_importance": "sampler=path_importance",
    # Shifts of the size of a few points of accuracy do not show in a few draws: one that shows anything.
    "shift": "sampler=shift sampler.rate=5.0",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("sampler", FEEDBACK)
def test_samplers_with_feedback_draw_the_same_on_every_rank(tmp_path, sampler):
    """Scores, evaluations and gradients reach all ranks alike; also where a run that was killed goes on."""
    overrides = [*SPOS, *FEEDBACK[sampler].split(), *DDP, "evaluation.every_n_epochs=1", "evaluation.panel=6"]
    probe = ["+callbacks.note._target_=helpers.probes.NoteDraws", "+callbacks.note.folder=${oc.env:OUT}"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    command("train.py", *SMALL, *overrides, *probe, out=tmp_path / "whole")
    first, second = draws(tmp_path / "whole")
    assert first == second
    assert len({d for step in first for d in step}) > 5
    killed = tmp_path / "killed"
    done = command("train.py", *SMALL, *overrides, *probe, *kill_at(8), out=killed, check=False)
    assert done.returncode != 0
    command("train.py", f"resume={the_run(killed)}", "+callbacks.kill.step=-1", out=killed)
    again, other = draws(killed)
    assert again == other == first[-len(again) :]
    assert len(again) < len(first)


@pytest.mark.slow
def test_a_killed_rank_is_one_error_with_the_command_that_goes_on(tmp_path):
    done = command("train.py", *SMALL, *SPOS, *DDP, *kill_at(6, "rank=1"), out=tmp_path, check=False)
    run = the_run(tmp_path)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Another process of this training has ended" in errors[0]
    assert f"resume={run}" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes_by_the_same_batches_or_not_at_all(tmp_path):
    command("train.py", *SMALL, *SPOS, "backbone.drop_rate=0", out=tmp_path / "whole")
    out = tmp_path / "resumed"
    command("train.py", *SMALL, *SPOS, "backbone.drop_rate=0", *kill_at(6), out=out, check=False)
    run = the_run(out)
    go = ("train.py", f"resume={run}", "+callbacks.kill.step=-1")
    assert "Add trainer=ddp" in command(*go, "trainer.devices=2", out=out, check=False).stderr
    refused = command(*go, *DDP, out=out, check=False)
    assert refused.returncode == 1
    assert "Set data.batch_size=8" in refused.stderr
    assert "Traceback" not in refused.stderr
    command(*go, *DDP, "data.batch_size=8", out=out)
    steps = [[r["step"] for r in read_csv(f / "metrics.csv")] for f in (the_run(tmp_path / "whole"), run)]
    assert steps[0] == steps[1]
    command(*go, "trainer=cpu", "data.batch_size=16", "trainer.max_epochs=5", out=out)  # and back
    assert read_csv(run / "metrics.csv")[-1]["step"] == 15
