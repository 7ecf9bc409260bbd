"""Multiruns: one folder, an index, failures that are reported, and starting again."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest
import torch
from helpers.scripts import FEW, command, weights
from omegaconf import OmegaConf

from wsn.callbacks.checkpoint import load_checkpoint
from wsn.errors import WsnError
from wsn.files import locked, read_csv
from wsn.run import devices
from wsn.run.devices import own_gpu
from wsn.run.job import objective, release, run_in
from wsn.run.sweep import SweepFolder, refuse_subprocesses

pytestmark = pytest.mark.xdist_group("sweep")  # one process makes the sweep that the tests share

SMALL = [
    *FEW,
    "debug=fast",
    "method=spos",
    "method.phases.0.epochs=1",
    "method.phases.0.warmup_epochs=0",
    "evaluation=single",
    "evaluation.panel=0",
    "trainer.enable_progress_bar=false",
    "trainer.limit_train_batches=3",
    "callbacks.checkpoint.every_n_steps=1",
    "paths.output_dir=${oc.env:OUT}",
]


JOBS = ["-m", "seed=0,1", "optim.accumulate=1,-1", *SMALL, "sweep=s"]
KILL = [
    "+callbacks.kill._target_=helpers.probes.KillAt",
    "+callbacks.kill.step=2",
    "+callbacks.kill.once=${oc.env:OUT}/killed",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two seeds, each with a good setting and one that fails at once; the process is killed in the first job."""
    out = tmp_path_factory.mktemp("swept")
    killed = command("train.py", *JOBS, *KILL, out=out, check=False)
    assert killed.returncode == -signal.SIGKILL
    status = {p.parent.name: json.loads(p.read_text())["status"] for p in out.rglob("job.json")}
    assert status == {"method-spos_accumulate-1_seed-0": "running"}
    return out / "sweeps" / "s", command("train.py", *JOBS, *KILL, out=out, check=False)


def test_a_killed_sweep_goes_on_and_reports_what_fails(swept):
    folder, done = swept
    assert done.returncode == 1
    rows = {r["job"]: r for r in read_csv(folder / "sweep.csv")}
    assert {name: r["status"] for name, r in rows.items()} == {
        "method-spos_accumulate-1_seed-0": "done",
        "method-spos_accumulate--1_seed-0": "failed",
        "method-spos_accumulate-1_seed-1": "done",
        "method-spos_accumulate--1_seed-1": "failed",
    }
    failed = rows["method-spos_accumulate--1_seed-1"]
    assert "optim.accumulate must be a whole number of at least 1. Received -1" in failed["error"]
    assert "error: method-spos_accumulate--1_seed-1 failed: optim.accumulate" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "WsnError" in (folder / "method-spos_accumulate--1_seed-1" / "error.txt").read_text()
    good = rows["method-spos_accumulate-1_seed-1"]
    assert good["seconds"] > 1
    test = [r for r in read_csv(folder / "method-spos_accumulate-1_seed-1" / "subnets.csv") if r["split"] == "test"]
    assert [good["test/alone/acc"]] == [r["acc"] for r in test]


def test_starting_again_runs_what_is_missing_only(swept):
    folder, _ = swept
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("last.ckpt")}
    done = command("train.py", *JOBS, *KILL, out=folder.parents[1], check=False)
    assert done.stdout.count("done before") == 2
    assert done.stderr.count("failed: optim.accumulate") == 2
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("last.ckpt")} == times


def test_jobs_of_one_process_do_not_touch_each_other(swept):
    """The second job of the process is, bit for bit, what it is alone in a process."""
    folder, _ = swept
    alone, job = folder.parents[1] / "alone", folder / "method-spos_accumulate-1_seed-1"
    command("train.py", "seed=1", *SMALL, f"paths.run_dir={alone}", out=alone)
    a, b = weights(alone), weights(job)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [r["acc"] for r in read_csv(alone / "subnets.csv")] == [r["acc"] for r in read_csv(job / "subnets.csv")]


@pytest.mark.slow
def test_two_objectives_by_optuna_and_the_same_trials_again(tmp_path):
    search = ["hparams_search=compute", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.population_size=2"]
    few = ["hydra.sweeper.params.budget_gmacs='choice(0.1, 0.2)'", *[s for s in SMALL if "debug" not in s]]
    tiny = ["backbone.width_mult=0.25", "backbone.reduction=32", "data.batch_size=16", "evaluation.panel=1"]
    command("train.py", *search, *few, *tiny, out=tmp_path)
    (results,) = tmp_path.rglob("optimization_results.yaml")
    found = OmegaConf.load(results)
    rows = read_csv(results.parent / "sweep.csv")
    assert len(rows) == 2
    for solution in found.solutions:
        volume, spent = solution["values"]
        assert any(r["pareto/hypervolume"] == volume and r["train/gmacs_spent"] == spent for r in rows)
    again = command("train.py", *search, *few, *tiny, out=tmp_path)
    assert again.stdout.count("done before") == 2


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit", "ray"])
def test_jobs_in_processes_of_their_own(tmp_path, launcher):
    if launcher == "ray":
        pytest.importorskip("ray")
    jobs = ["-m", "seed=0,1", f"launcher={launcher}", *SMALL]
    done = command("train.py", *jobs, out=tmp_path)
    (index,) = tmp_path.rglob("sweep.csv")
    assert [r["status"] for r in read_csv(index)] == ["done", "done"], done.stderr


@pytest.mark.slow
def test_slurm(tmp_path, monkeypatch):
    """The queue is a stand-in: sbatch runs the array's tasks one after another as SLURM would start them."""
    tools = {
        "sbatch": f"""#!{sys.executable}
import os, re, subprocess, sys
count = int(re.search(r"--array=0-(\\d+)", open(sys.argv[-1]).read())[1]) + 1
nowhere = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if sys.argv[1] != "run":
    print("Submitted batch job 7")
    subprocess.Popen([__file__, "run", sys.argv[-1]], start_new_session=True, **nowhere)
    sys.exit()
for task in range(count):
    slurm = dict(JOB_ID=7 + task, ARRAY_JOB_ID=7, ARRAY_TASK_ID=task, PROCID=0, LOCALID=0, NODEID=0, NTASKS=1,
                 JOB_NUM_NODES=1, NNODES=1, JOB_NODELIST="localhost", NODELIST="localhost", JOB_NAME="wsn")
    environment = {{**os.environ, **{{f"SLURM_{{k}}": str(v) for k, v in slurm.items()}}}}
    subprocess.run(["bash", sys.argv[-1]], env=environment, **nowhere)
""",
        "srun": f"""#!{sys.executable}
import os, sys
first = next(i for i, a in enumerate(sys.argv) if i and not a.startswith("-") and "python" in a)
os.execv(sys.argv[first], sys.argv[first:])
""",
        "sacct": "#!/bin/sh\necho 'JobID|State|NodeList'; echo '7_0|RUNNING|localhost'; echo '7_1|RUNNING|localhost'\n",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = command("train.py", "-m", "seed=0,1", "launcher=slurm", *SMALL, out=tmp_path / "out")
    (index,) = tmp_path.rglob("sweep.csv")
    assert [r["status"] for r in read_csv(index)] == ["done", "done"], done.stderr


# -- parts ---------------------------------------------------------------------------------------------------


def job(folder, task, overrides=("seed=0",)):
    folder.mkdir(exist_ok=True)
    return run_in(folder, list(overrides), OmegaConf.create({"trainer": {}, "resume": None}), task)


def test_a_job_that_failed_is_run_again_and_a_done_one_is_not(tmp_path, capsys):
    def fails(cfg):
        raise ValueError("boom")

    folder = tmp_path / "a"
    assert job(folder, fails) is None
    assert "a failed: ValueError: boom" in capsys.readouterr().err
    assert "raise ValueError" in (folder / "error.txt").read_text()
    assert job(folder, lambda cfg: {"x": 1.0}) == {"x": 1.0}
    assert not (folder / "error.txt").exists()
    assert job(folder, fails) == {"x": 1.0}
    with pytest.raises(WsnError, match=r"other settings: seed=0. Received seed=0 data.root=x.*sweep=NAME"):
        job(folder, fails, ["seed=0", "data.root=x"])


def test_an_interrupted_job_ends_the_sweep_and_goes_on_from_its_checkpoint(tmp_path):
    def interrupted(cfg):
        raise KeyboardInterrupt

    folder = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        job(folder, interrupted)
    assert read_csv(tmp_path / "sweep.csv")[0]["status"] == "interrupted"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert job(folder, lambda cfg: {"resumed": cfg.resume}) == {"resumed": str(folder)}


def test_a_job_that_another_process_runs_is_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / ".lock") as ours:
        assert ours
        assert job(tmp_path / "a", lambda cfg: {"x": 1.0}) is None
    assert job(tmp_path / "a", lambda cfg: {"x": 1.0}) == {"x": 1.0}


def test_a_job_leaves_no_wandb_run_and_no_compiled_graphs(tmp_path):
    import wandb

    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    double = torch.compile(lambda x: 2 * x, backend=backend)
    double(torch.ones(2))
    wandb.init(mode="offline", dir=tmp_path)
    release()
    assert wandb.run is None
    double(torch.ones(2))
    assert len(graphs) == 2


def test_the_folder_is_that_of_the_overrides():
    def start(*task, name=None, hydra=()):
        cfg = OmegaConf.create({
            "sweep": name, "paths": {"output_dir": "out"}, "trainer": {"devices": 1},
            "hydra": {"overrides": {"task": list(task), "hydra": list(hydra)}, "sweeper": {"params": None},
                      "sweep": {"dir": "x", "subdir": "y"}},
        })  # fmt: skip
        SweepFolder().on_multirun_start(cfg)
        return cfg

    first = start("method=ofa,bignas", "seed=0,1")
    assert first.hydra.sweep.dir.startswith("out/sweeps/method-seed-")
    assert start("seed=0,1", "method=ofa,bignas", "launcher=joblib").hydra.sweep.dir == first.hydra.sweep.dir
    assert start("seed=0,2", "method=ofa,bignas").hydra.sweep.dir != first.hydra.sweep.dir
    assert start("seed=0,1", "sweep=mine", name="mine").hydra.sweep.dir == "out/sweeps/mine"
    assert start("seed=0,1", hydra=["hydra.sweep.dir=own"]).hydra.sweep.dir == "x"


def test_processes_that_would_start_the_sweep_again_are_refused(tmp_path):
    jobs = ["-m", "seed=0,1", "trainer=ddp", "paths.output_dir=${oc.env:OUT}"]
    done = command("train.py", *jobs, out=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: trainer.strategy=lightning.pytorch.strategies.DDPStrategy starts its other")
    assert "Use trainer=ddp_spawn" in done.stderr
    assert not list(tmp_path.iterdir())


def test_processes_that_something_else_makes_are_fine(monkeypatch):
    strategy = {"_target_": "lightning.pytorch.strategies.DDPStrategy", "start_method": "popen"}
    cfg = OmegaConf.create({"trainer": {"devices": 2, "strategy": strategy}})
    with pytest.raises(WsnError, match="torchrun"):
        refuse_subprocesses(cfg)
    refuse_subprocesses(OmegaConf.merge(cfg, {"trainer": {"devices": 1}}))
    refuse_subprocesses(OmegaConf.merge(cfg, {"trainer": {"strategy": {"start_method": "spawn"}}}))
    refuse_subprocesses(OmegaConf.merge(cfg, {"hydra": {"launcher": {"tasks_per_node": 2}}}))
    monkeypatch.setenv("RANK", "0")
    refuse_subprocesses(cfg)


def test_runs_share_out_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    cfg = OmegaConf.create({"devices": 1, "accelerator": "gpu"})
    with own_gpu(cfg) as a, own_gpu(cfg) as b, own_gpu(cfg) as shared:
        assert (a.devices, b.devices) == ([0], [1])
        assert shared.devices == [0]
    with own_gpu(cfg) as a:
        assert a.devices == [0]
    for other in ({"devices": 2, "accelerator": "gpu"}, {"devices": 1, "accelerator": "cpu"}):
        with own_gpu(OmegaConf.create(other)) as same:
            assert same.devices == other["devices"]


def test_what_a_sweeper_is_told():
    metrics = {"pareto/hypervolume": 0.5, "train/gmacs_spent": 20.0}
    assert objective("pareto/hypervolume", metrics) == 0.5
    assert objective(["train/gmacs_spent", "pareto/hypervolume"], metrics) == (20.0, 0.5)
    assert objective("pareto/hypervolume", None) is None
    with pytest.raises(WsnError, match="optimized_metric=acc was not measured. Allowed: pareto/hypervolume"):
        objective("acc", metrics)


def test_a_missing_plugin_is_one_line(monkeypatch, capsys):
    command_line = sys.modules["wsn.config.command_line"]
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command_line.require_plugin(["method=ofa", "launcher=ray"])
    assert 'launcher=ray needs a plugin: pip install -e ".[ray]"' in capsys.readouterr().err
    command_line.require_plugin(["method=ofa"])


def test_checkpoints_of_jobs_are_whole(swept):
    folder, _ = swept
    for path in Path(folder).rglob("last.ckpt"):
        assert load_checkpoint(path)["global_step"] > 0
