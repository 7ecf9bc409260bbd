"""What runs tell W&B: real runs offline, then what W&B wrote is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from helpers.scripts import FEW, command, the_run
from helpers.wandb_files import Written
from wandb.wandb_agent import Agent

from wsn.callbacks.checkpoint import load_checkpoint
from wsn.config import compose
from wsn.config.moved import stamp
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import BITS_PER_BYTE
from wsn.files import read_csv
from wsn.logging.results import write_results
from wsn.logging.wandb import COLUMNS, define_metrics, git_state, log_final
from wsn.run.export import _log, export_run
from wsn.run.run import open_run

pytestmark = pytest.mark.xdist_group("wandb")  # one process makes the runs that the tests share
ROOT = Path(__file__).parents[2]
FAST = [*FEW, "debug=fast", "data.eval_batch_size=200", "trainer.enable_progress_bar=false"]
FAST += ["method.phases.0.epochs=1", "method.phases.0.warmup_epochs=0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("wandb")
    logger = ["logger=wandb", "logger.wandb.offline=true", "logger.wandb.chart=me/wsn-pareto", "sweep=first"]
    logger += ["logger.wandb.log_supernet=true", "tags=[quick]"]
    command("train.py", "method=bignas", *FAST, *logger, f"paths.output_dir={out}", out=out)
    return the_run(out)


@pytest.fixture(scope="module")
def written(run):
    return Written(run)


def test_identity_config_and_group(run, written):
    saved = yaml.safe_load((run / "config.yaml").read_text())
    config = written.config
    assert (config["method_name"], config["backbone_name"]) == ("bignas", "mobilenet")
    assert (config["dataset_name"], config["seed_used"]) == ("fashion_mnist_medium", 0)
    assert config["recipe"] == "bignas+quick"
    assert {**config["cfg"], **stamp()} == saved
    assert written.run.run_id == saved["logger"]["wandb"]["id"]  # so a resume finds it
    assert (written.run.run_group, written.run.job_type) == ("first", "train")
    assert list(written.run.tags) == ["quick"]
    assert written.run.display_name == "bignas-mobilenet-s0"
    derived = config["derived"]
    assert derived["macs_min"] < derived["macs_max"]
    assert derived["params_min"] < derived["params_max"]
    assert derived["space_size"] > 1e6
    assert set(git_state()) <= set(derived)


def test_metric_definitions(written):
    found = written.metrics
    assert found["front/*"].step_metric == "front/gmacs"
    assert found["front/gmacs"].options.hidden
    assert found["*"].step_metric == "trainer/global_step"
    for name in ("largest", "middle", "smallest"):
        summary = found[f"val/{name}/acc"].summary
        assert (summary.max, summary.last, summary.min) == (True, True, False)
    assert "pareto/hypervolume" not in found  # its summary must be a number, or no sweep can optimise it


def test_history(run, written):
    front = Front.from_json(run / "front.json").rows
    assert written.values("front/gmacs") == pytest.approx([r["macs"] / 1e9 for r in front])
    assert written.values("front/acc") == pytest.approx([r["acc"] for r in front])
    assert written.values("front/params_m") == pytest.approx([r["params"] / 1e6 for r in front])
    rows = read_csv(run / "metrics.csv")
    for key in (
        "pareto/hypervolume",
        "test/hypervolume",
        "pareto/kendall_tau",
        "train/gmacs_spent",
        "test/largest/acc",
        "val/smallest/acc",
    ):
        ours = [r[key] for r in rows if r.get(key) is not None]
        assert ours
        assert written.values(key)[-1] == pytest.approx(ours[-1])
    for role in ("max", "random", "min"):
        assert len(written.values(f"train/loss/{role}")) == 2


def test_ranking_is_compared_with_the_evaluation_before(run, written):
    from scipy.stats import kendalltau

    rows = read_csv(run / "subnets.csv")
    acc = {split: {r["id"]: r["acc"] for r in rows if r["split"] == split} for split in ("val", "test")}
    expected = kendalltau([acc["val"][i] for i in acc["test"]], list(acc["test"].values())).statistic
    assert written.values("pareto/kendall_tau") == [pytest.approx(expected)]


def test_table_of_all_subnets(run, written):
    table = written.table("pareto/subnets")
    assert table["columns"] == COLUMNS
    rows = [dict(zip(table["columns"], row)) for row in table["data"]]
    known = [r for r in read_csv(run / "subnets.csv") if r["split"] == "test"]
    assert [r["subnet_id"] for r in rows] == [r["id"] for r in known]
    assert [r["on_front"] for r in rows] == [r["on_front"] for r in known]
    assert {(r["method"], r["seed"], r["run_id"]) for r in rows} == {("bignas", 0, written.run.run_id)}
    assert [json.loads(r["arch_json"]) for r in rows] == [json.loads(r["arch"]) for r in known]
    assert len(list(run.rglob("media/images/**/*.png"))) == 1


def test_the_registered_chart_draws_that_table(written):
    panel = written.config["_wandb/visualize/pareto/front"]
    assert panel["panel_type"] == "Vega2"
    assert panel["panel_config"]["panelDefId"] == "me/wsn-pareto"
    assert panel["panel_config"]["fieldSettings"] == {"x": "gmacs", "y": "acc", "series": "method", "run": "run_id"}
    key = "Custom Chart Tables/pareto/front_table"
    assert key in json.dumps(panel)
    assert written.values(f"{key}/path") == written.values("pareto/subnets/path")  # one file


def test_artifacts(run, written):
    files = {a.type: {c.path: c for c in a.manifest.contents} for a in written.artifacts.values()}
    assert set(files["pareto"]) == {"front.json", "subnets.csv", "config.yaml"}
    assert set(files["supernet"]) == {"checkpoints/last.ckpt", "config.yaml", "quality.json", "subnets.csv"}
    checkpoint = files["supernet"]["checkpoints/last.ckpt"]
    assert checkpoint.size == (run / "checkpoints" / "last.ckpt").stat().st_size
    logged, last = load_checkpoint(checkpoint.local_path), load_checkpoint(run / "checkpoints" / "last.ckpt")
    assert logged["global_step"] == last["global_step"] == 2
    for artifact in written.artifacts.values():
        if artifact.type != "run_table":
            assert json.loads(artifact.metadata)["method"] == "bignas"


# -- exports ----------------------------------------------------------------------------------------------------


def export(run, out):
    return export_run(compose("conf", [f"run={run}", "split=val", "subnet=smallest", f"out={out}"], "export"))


def test_an_export_is_logged_beside_its_run(run, written, tmp_path):
    before = set(run.glob("wandb/*run-*"))
    folder = export(run, tmp_path / "small one")
    (where,) = set(run.glob("wandb/*run-*")) - before
    found = Written(where)
    assert (found.run.job_type, found.run.run_group) == ("export", "first")
    assert found.run.run_id != written.run.run_id
    assert found.config["trained_by"] == written.run.run_id
    assert found.config["method_name"] == "bignas"
    (artifact,) = found.artifacts.values()
    assert (artifact.type, artifact.name) == ("subnet", f"{written.run.run_id}-small-one")
    paths = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {c.path for c in artifact.manifest.contents} == paths >= {"README.md", "index.json"}
    (subnet,) = json.loads(artifact.metadata)["subnets"]
    assert subnet["macs"] > 0


def test_what_is_exported_stays_without_wandb(run, tmp_path, monkeypatch):
    def fails(**_):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", fails)
    with pytest.warns(UserWarning, match="Not logged to W&B: no route"):
        _log(open_run(run), tmp_path, [])


# -- sweeps -----------------------------------------------------------------------------------------------------


def sweep(name):
    return yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text())


def first_values(parameters):
    """Return what an agent may be told: the first value of each parameter, the middle of a distribution."""
    return {
        key: node.get("value", node.get("values", [None])[0]) if "min" not in node else (node["min"] + node["max"]) / 2
        for key, node in parameters.items()
    }


def agent_command(config, values, monkeypatch, folder):
    """Let W&B's own agent make the command line and the environment of a job; start nothing."""
    started = {}

    class Process:
        def __init__(self, command, env, **_):
            started.update(command=command, env=env)

    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them: put back afterwards
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setattr("wandb.wandb_agent.AgentProcess", Process)
    agent = Agent(api=None, queue=None, sweep_id="sweep1")
    agent._sweep_command = list(config["command"])
    arguments = {key: {"value": value} for key, value in values.items()}
    agent._command_run({"run_id": "job1", "program": config["program"], "args": arguments})
    return started["command"], started["env"]


@pytest.mark.slow
def test_an_agents_job_of_the_sweep_of_methods(tmp_path, monkeypatch):
    config = sweep("methods")
    values = {**first_values(config["parameters"]), "method": "spos", "seed": 2, "budget_gmacs": 0.05}
    given, env = agent_command(config, values, monkeypatch, tmp_path)
    assert given[:3] == ["/usr/bin/env", "python", "train.py"]
    env = {**env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(ROOT / "tests")
    more = [*FAST, "backbone.resolution=[20]", "logger.wandb.offline=true", f"paths.output_dir={tmp_path / 'out'}"]
    done = subprocess.run([*given, *more], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = the_run(tmp_path / "out")
    assert {r["split"] for r in read_csv(run / "subnets.csv")} == {"val", "test"}
    found = Written(tmp_path)
    assert (found.run.run_id, found.run.sweep_id, found.run.run_group) == ("job1", "sweep1", "methods")
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["logger"]["wandb"]["id"] == "job1"
    assert (saved["method"]["name"], saved["seed"], saved["budget_gmacs"]) == ("spos", 2, 0.05)
    assert found.config["method"] == "spos"  # locked by the agent: a word here, a tree elsewhere
    assert (found.config["method_name"], found.config["seed_used"]) == ("spos", 2)
    assert found.config["cfg"]["method"]["name"] == "spos"
    assert isinstance(found.values(config["metric"]["name"])[-1], float)
    panel = found.config["_wandb/visualize/pareto/front"]["panel_config"]  # no chart is registered
    assert (panel["panelDefId"], panel["fieldSettings"]["y"]) == ("wandb/line/v0", "acc")
    drawn = found.table("Custom Chart Tables/pareto/front_table")
    assert len(drawn["data"]) == len(Front.from_json(run / "front.json"))


@pytest.mark.parametrize("name", [p.stem for p in sorted((ROOT / "sweeps").glob("*.yaml"))])
def test_every_job_of_a_sweep_has_a_config(name, tmp_path, monkeypatch):
    config = sweep(name)
    assert config["metric"] == {"name": "pareto/hypervolume", "goal": "maximize"}
    lists = {key: node["values"] for key, node in config["parameters"].items() if "values" in node}
    for i in range(max(map(len, lists.values()), default=1)):  # every value of every list
        chosen = [values[i % len(values)] for values in lists.values()]
        values = {**first_values(config["parameters"]), **dict(zip(lists, chosen))}
        given, _ = agent_command(config, values, monkeypatch, tmp_path)
        cfg = compose(ROOT / "conf", given[3:])
        assert cfg.method.name == values["method"]
        assert cfg.budget_gmacs == values["budget_gmacs"]
        assert cfg.logger.wandb.group == name


def test_methods_are_compared_at_equal_compute_over_seeds():
    parameters = sweep("methods")["parameters"]
    assert len(parameters["method"]["values"]) >= 6
    assert len(parameters["seed"]["values"]) >= 3
    assert set(parameters["budget_gmacs"]) == {"value"}


# -- facts ------------------------------------------------------------------------------------------------------


def test_git_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git_state() == {}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    state = git_state()
    assert len(state["git_sha"]) == 40
    assert state["git_dirty"] is False
    (tmp_path / "file").write_text("a")
    subprocess.run([*git, "add", "file"], check=True)
    assert git_state()["git_dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert git_state() == {}


def test_a_language_model_is_better_where_bits_are_few(tmp_path):
    """Its front, axis, chart and summaries are of bits per byte."""
    rows = [
        {"id": str(i), "kind": "random", "split": "test", "step": 1, "macs": 10**6 * (i + 1), "params": 10**5,
         "acc": 0.3, "latency_ms": None, "perplexity": 4.0, "bits_per_byte": bits, "loss": 1.0,
         "arch": "{}", "phase": "all"}
        for i, bits in enumerate([3.0, 3.5, 2.0])
    ]  # fmt: skip
    front = write_results(tmp_path, rows)
    cfg = compose("conf", ["method=soft", "backbone=llama", "data=shakespeare"])
    with wandb.init(mode="offline", dir=tmp_path) as run:
        define_metrics(run, ["largest"], BITS_PER_BYTE)
        log_final(run, rows, front, cfg, tmp_path, "me/wsn-pareto")
    found = Written(tmp_path)
    assert found.metrics["val/largest/bits_per_byte"].summary.min
    assert found.values("front/bits_per_byte") == [3.0, 2.0]
    panel = found.config["_wandb/visualize/pareto/front"]["panel_config"]
    assert panel["fieldSettings"]["y"] == "bits_per_byte"
    assert (panel["stringSettings"]["y"], panel["stringSettings"]["better"]) == ("bits per byte", "low")
