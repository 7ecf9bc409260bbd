"""Whole runs from the command line."""

import signal

import pytest
import torch
from helpers.scripts import PHASES, SMALL, command, the_run, weights

from wsn.evaluation.pareto import Front
from wsn.files import read_csv

pytestmark = pytest.mark.xdist_group("train")  # one process makes the run that the tests share


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    done = command("train.py", *SMALL, *PHASES, out=out, fresh=True)
    return the_run(out), done


def test_what_a_run_leaves(finished):
    run, done = finished
    assert run.parent.name == "ofa-mobilenet-fashion_mnist_medium"
    rows = read_csv(run / "subnets.csv")
    last = [r for r in rows if r["split"] == "test"]
    assert [r["phase"] for r in rows if r["kind"] == "largest" and r["split"] == "val"] == [
        "full", "kernel", "depth_1", "depth_2", "expand_1", "expand_2",
    ]  # fmt: skip
    assert {r["kind"] for r in last} == {"largest", "middle", "smallest", "random"}
    front = Front.from_json(run / "front.json")
    assert [r["id"] for r in front] == [r["id"] for r in sorted(last, key=lambda r: r["macs"]) if r["on_front"]]
    metrics = read_csv(run / "metrics.csv")
    assert len([r for r in metrics if r.get("train/loss") is not None]) == 18
    assert any(r.get("test/smallest/acc") is not None for r in metrics)
    assert len([r for r in metrics if r.get("pareto/hypervolume") is not None]) == 6  # after each phase
    assert len([r for r in metrics if r.get("test/hypervolume") is not None]) == 1
    assert (run / "front.png").stat().st_size > 10_000
    assert str(run) in done.stdout + done.stderr
    assert "smallest" in done.stdout


def test_evaluate_agrees_with_the_run(finished):
    run, _ = finished
    row = next(r for r in read_csv(run / "subnets.csv") if r["split"] == "test" and r["kind"] == "smallest")
    command("evaluate.py", f"run={run}", f"subnet={row['id']}", out=run)
    (again,) = read_csv(run / "evaluation.csv")
    assert {k: again[k] for k in ("id", "macs", "params", "acc", "acc5")} == {
        k: row[k] for k in ("id", "macs", "params", "acc", "acc5")
    }


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (5, "SIGKILL"),
        pytest.param(17, "SIGKILL", marks=pytest.mark.slow),
        pytest.param(8, "SIGINT", marks=pytest.mark.slow),
        (10, "SIGTERM"),
        pytest.param(12, "SIGTERM", marks=pytest.mark.slow),
        pytest.param(7, "SIGUSR2", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(finished, tmp_path, step, name):
    whole, _ = finished
    probe = [
        "+callbacks.kill._target_=helpers.probes.KillAt",
        f"+callbacks.kill.step={step}",
        f"+callbacks.kill.name={name}",
    ]
    done = command("train.py", *SMALL, *PHASES, *probe, out=tmp_path, check=False)
    assert done.returncode != 0
    expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGUSR2": 143}
    assert done.returncode == expected.get(name, done.returncode)
    run = the_run(tmp_path)
    if name in ("SIGTERM", "SIGUSR2"):
        assert f"go on with resume={run}" in done.stdout + done.stderr
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
        assert not [r for r in read_csv(run / "subnets.csv") if r["split"] == "test"]
    command("train.py", f"resume={run}", "+callbacks.kill.step=-1", out=tmp_path)
    assert the_run(tmp_path) == run
    losses = [
        [r["train/loss"] for r in read_csv(f / "metrics.csv") if r["train/loss"] is not None] for f in (whole, run)
    ]
    assert losses[0] == losses[1]
    columns = ("id", "kind", "split", "phase", "acc", "loss", "on_front")
    results = [[[r[c] for c in columns] for r in read_csv(f / "subnets.csv")] for f in (whole, run)]
    assert results[0] == results[1]
    a, b = weights(whole), weights(run)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_killed_before_its_last_evaluation_still_makes_it(finished, tmp_path):
    whole, _ = finished
    probe = ["+callbacks.kill._target_=helpers.probes.KillAtEnd", f"+callbacks.kill.once={tmp_path}/killed"]
    done = command("train.py", *SMALL, *PHASES, *probe, out=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    run = the_run(tmp_path)
    assert not [r for r in read_csv(run / "subnets.csv") if r["split"] == "test"]
    for _ in range(2):  # the second time nothing is owed
        command("train.py", f"resume={run}", out=tmp_path)
        columns = ("id", "kind", "split", "phase", "epoch", "step", "acc", "loss", "on_front")
        results = [[[r[c] for c in columns] for r in read_csv(f / "subnets.csv")] for f in (whole, run)]
        assert results[0] == results[1]
    metrics = [[r for r in read_csv(f / "metrics.csv") if r.get("test/hypervolume") is not None] for f in (whole, run)]
    assert [r["test/smallest/acc"] for r in metrics[0]] == [r["test/smallest/acc"] for r in metrics[1]]
    assert (run / "front.json").read_text() == (whole / "front.json").read_text()


def test_no_gradient_is_lost_where_several_batches_make_a_step(tmp_path):
    """Killed after a step, then, once it goes on, between two batches of the next."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    short = ["debug=fast", "method=spos", "method.phases.0.epochs=1", "method.phases.0.warmup_epochs=0", *SMALL]
    short += ["evaluation=single", "evaluation.panel=0", "trainer.limit_train_batches=6", "optim.accumulate=3"]
    short += ["callbacks.checkpoint.every_n_steps=1"]
    kill = ["+callbacks.kill._target_=helpers.probes.KillAt", "+callbacks.kill.step=-1", "+callbacks.kill.batch=4"]
    command("train.py", *short, out=whole)
    assert command("train.py", *short, *kill, out=killed, check=False).returncode == -signal.SIGKILL
    run = the_run(killed)
    resumed = command("train.py", f"resume={run}", "+callbacks.kill.batch=2", out=killed, check=False)
    assert resumed.returncode == -signal.SIGKILL
    command("train.py", f"resume={run}", "+callbacks.kill.batch=-1", out=killed)
    a, b = weights(the_run(whole)), weights(run)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_corrupt_checkpoint_is_one_error_and_the_results_stay(finished, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    for script, key in (("train.py", "resume"), ("evaluate.py", "run")):
        done = command(script, f"{key}={run}", out=tmp_path, check=False)
        assert done.returncode == 1
        assert "corrupt or truncated" in done.stderr
        assert "Traceback" not in done.stderr
    assert read_csv(run / "subnets.csv")


def test_plain_trains_one_subnet_alone(tmp_path):
    overrides = [*SMALL, "method=plain", "method.subnet=smallest", "method.phases.0.epochs=1"]
    command("train.py", *overrides, out=tmp_path)
    run = the_run(tmp_path)
    (row,) = [r for r in read_csv(run / "subnets.csv") if r["split"] == "test"]
    assert row["kind"] == "alone"
    assert not any("kernel_matrices" in k for k in weights(run))


@pytest.mark.slow
def test_all_methods_in_one_multirun(tmp_path):
    methods = "ofa,bignas,alphanet,attentive_nas,sortednet,deps,us_net,spos,fairnas,plain"
    done = command("train.py", "-m", f"method={methods}", "budget_gmacs=0.5", *SMALL, out=tmp_path, timeout=900)
    runs = sorted(p.parent for p in tmp_path.rglob("config.yaml"))
    assert len(runs) == 10, done.stderr
    for run in runs:
        assert any(r["split"] == "test" for r in read_csv(run / "subnets.csv"))


@pytest.mark.slow
def test_a_budget_is_kept(tmp_path):
    """The planned compute is what a run spends, teacher, several phases and candidates included."""
    small = [s for s in [*SMALL, *PHASES] if not s.startswith(("trainer.limit", "data.batch_size"))]
    command("train.py", "method=ofa", "data.batch_size=8", "budget_gmacs=6", *small, out=tmp_path)
    run = the_run(tmp_path)
    spent = [r["train/gmacs_spent"] for r in read_csv(run / "metrics.csv") if r.get("train/gmacs_spent") is not None]
    assert spent[-1] == pytest.approx(6, rel=0.15)
    done = command("train.py", "method=ofa", "budget_gmacs=1e9", *small, out=tmp_path / "b", check=False)
    assert done.returncode == 1
    assert "budget_gmacs" in done.stderr
