"""Reading run folders: what counts as a run, what is left out and why, how runs are named."""

import json
import re

import pytest
import yaml
from helpers.synthetic import config_of, make_panel, row_of, write_run, write_sweep

from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison, differences
from wsn.errors import WsnError
from wsn.files import write_csv

PANEL = make_panel(4)


def rows(accuracy, split="test"):
    return [
        row_of(kind, arch, split, {"acc": accuracy + 0.01 * i, "acc5": 1.0, "loss": 0.5})
        for i, (kind, arch) in enumerate(PANEL)
    ]


def make(folder, method="ofa", seed=0, accuracy=0.7, job=None, **config):
    write_run(folder, config_of(method, seed, folder, **config), [*rows(0.1, "val"), *rows(accuracy)])
    if job is not None:
        (folder / "job.json").write_text(json.dumps(job))


def test_a_run_is_read_whole(tmp_path):
    make(tmp_path / "a", tags=["no ramp"])
    [run], skipped = find_runs([tmp_path])
    assert skipped == {}
    assert (run.label, run.seed, run.data, run.backbone, run.alone) == (
        "ofa+no ramp", 0, "fashion_mnist_small", "mobilenet", False,
    )  # fmt: skip
    assert run.subnets["quality"] == pytest.approx([70, 71, 72, 73])  # of the test split
    assert run.subnets["kind"][:3] == ["smallest", "middle", "largest"]
    assert run.gmacs == 120
    assert run.minutes == pytest.approx(1.5)
    assert run.config["callbacks.checkpoint.folder"] == "<run>/checkpoints"


def test_the_job_knows_the_time_and_copies_may_not(tmp_path):
    make(tmp_path / "a", job={"status": "done", "seconds": 600, "overrides": []})
    make(tmp_path / "b", seed=1)
    (tmp_path / "b" / "config.yaml").touch()
    (tmp_path / "b" / "checkpoints" / "last.ckpt").unlink()
    runs, _ = find_runs([tmp_path])
    assert [run.minutes for run in runs] == [10, None]


def test_what_is_unfinished_is_left_out_with_the_reason(tmp_path):
    make(tmp_path / "good")
    make(tmp_path / "running", job={"status": "running", "overrides": [], "seconds": 3})
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "job.json").write_text(json.dumps({"status": "failed", "error": "no\nmemory"}))
    make(tmp_path / "no_rows")
    (tmp_path / "no_rows" / "subnets.csv").unlink()
    make(tmp_path / "val_only")
    write_csv(tmp_path / "val_only" / "subnets.csv", rows(0.5, "val"))
    make(tmp_path / "nan", accuracy=float("nan"))
    make(tmp_path / "broken")
    (tmp_path / "broken" / "config.yaml").write_text("a: [")
    make(tmp_path / "other")
    (tmp_path / "other" / "config.yaml").write_text("run: outputs/x")
    runs, skipped = find_runs([tmp_path])
    assert [run.folder for run in runs] == [str(tmp_path / "good")]
    reasons = {folder.rpartition("/")[2]: reason for folder, reason in skipped.items()}
    assert reasons["running"] == "its job is still running."
    assert reasons["failed"] == "its job failed. no memory"
    assert reasons["no_rows"] == "unfinished: it has no subnets.csv"
    assert reasons["val_only"] == "unfinished: subnets.csv has no test rows"
    assert reasons["nan"] == "no subnet has a finite top-1 accuracy"
    assert reasons["broken"] == "config.yaml is not YAML"
    assert "method.name" in reasons["other"]


def test_searches_and_exports_in_a_run_are_not_runs(tmp_path):
    make(tmp_path / "a")
    search = tmp_path / "a" / "search" / "nsga2-1"
    search.mkdir(parents=True)
    (search / "config.yaml").write_text("run: x")
    known = row_of(*PANEL[1], "val", {"acc": 0.99, "acc5": 1, "loss": 0}, latency=7.5)
    write_csv(search / "evaluations.csv", [known])
    runs, skipped = find_runs([tmp_path, tmp_path / "a"])
    assert len(runs) == 1  # named twice, read once
    assert skipped == {}
    assert runs[0].subnets["latency_ms"] == [None, 7.5, None, None]
    assert max(runs[0].subnets["quality"]) < 80  # the search's are of another split
    assert Comparison(runs).front(runs[0], "latency_ms") == [1]


def test_diverged_subnets_are_left_out_and_said_so(tmp_path):
    broken = [*rows(0.7)[:3], {**rows(0.7)[3], "acc": float("nan")}]
    write_run(tmp_path / "a", config_of("ofa", 0, tmp_path / "a"), broken)
    comparison = Comparison(*find_runs([tmp_path]))
    assert len(comparison.runs[0]) == 3
    assert comparison.notes[0] == "ofa, seed 0: no finite top-1 accuracy of 1 of 4 subnets, which are left out"


def test_runs_of_a_sweep_are_told_apart_by_what_it_set(tmp_path):
    for i, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]):
        overrides = ["method=ofa", f"optim.lr={lr}", f"seed={seed}", "trainer=cpu"]
        make(tmp_path / str(i), seed=seed, job={"status": "done", "overrides": overrides}, optim={"lr": lr})
    comparison = Comparison(*find_runs([tmp_path]))
    assert comparison.seeds == {"ofa optim.lr=0.1": [0, 1], "ofa optim.lr=0.2": [0, 1]}
    assert comparison.notes == []


def test_backbones_are_told_apart(tmp_path):
    make(tmp_path / "a", backbone={"name": "mobilenet"})
    make(tmp_path / "b", backbone={"name": "vit"})
    runs, _ = find_runs([tmp_path])
    assert [run.label for run in runs] == ["ofa mobilenet", "ofa vit"]


def test_untagged_differences_and_repeated_seeds_are_noted(tmp_path):
    make(tmp_path / "a", optim={"lr": 0.1})
    make(tmp_path / "b", optim={"lr": 0.2})
    notes = Comparison(*find_runs([tmp_path])).notes
    assert "optim.lr" in notes[0]
    assert notes[1] == "ofa: a seed occurs more than once"


def test_config_differences(tmp_path):
    write_sweep(tmp_path, ["ofa", "deps"], seeds=2, alone=0)
    found = dict(differences(Comparison(*find_runs([tmp_path])).groups))
    assert found["seed"] == {"ofa": ["0", "1"], "deps": ["0", "1"]}
    assert found["method.aggregation"] == {"ofa": ["sum"], "deps": ["mean"]}
    assert not [key for key in found if "folder" in key or "paths" in key]
    assert "data.name" not in found


def test_absent_keys_are_differences(tmp_path):
    make(tmp_path / "a", extra={"x": [1, 2]})
    make(tmp_path / "b", method="deps")
    found = dict(differences(Comparison(*find_runs([tmp_path])).groups))
    assert found["extra.x"] == {"deps": ["–"], "ofa": ["[1, 2]"]}


def test_mistakes_are_one_error(tmp_path):
    with pytest.raises(WsnError, match="does not exist"):
        find_runs([tmp_path / "nope"])
    with pytest.raises(WsnError, match="No finished run"):
        find_runs([tmp_path])
    make(tmp_path / "a")
    make(tmp_path / "b", data={"name": "cifar10"})
    with pytest.raises(WsnError, match="different tasks, measured by cifar10 and fashion_mnist_small"):
        Comparison(*find_runs([tmp_path]))
    make(tmp_path / "alone" / "c", method="plain")
    with pytest.raises(WsnError, match="Only runs of method=plain"):
        Comparison(*find_runs([tmp_path / "alone"]))
    text = tmp_path / "text"
    bits = [{**row, "bits_per_byte": 2.0} for row in rows(0.5)]
    write_run(text, config_of("soft", 0, text), bits)
    with pytest.raises(WsnError, match="bits per byte and top-1 accuracy"):
        Comparison(*find_runs([tmp_path / "a", text]))


def test_configs_of_other_machines_do_not_matter(tmp_path):
    make(tmp_path / "a")
    cfg = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    elsewhere = json.dumps(cfg).replace(str(tmp_path), "/scratch/user")
    (tmp_path / "a" / "config.yaml").write_text(elsewhere)  # JSON is YAML
    make(tmp_path / "b", seed=1)
    comparison = Comparison(*find_runs([tmp_path]))
    assert [key for key, _ in differences({"a": [comparison.runs[0]], "b": [comparison.runs[1]]})] == ["seed"]


def edit(path, change):
    path.write_bytes(change(path.read_bytes()) if path.exists() else change(b""))


FAULTS = {
    "NUL bytes in subnets.csv": ("subnets.csv", lambda text: text[:200] + b"\0" * 40 + text[200:]),
    "binary subnets.csv": ("subnets.csv", lambda text: bytes(range(256)) * 4),
    "text where MACs belong": (
        "subnets.csv",
        lambda text: re.sub(rb",test,all,9,900,\d+,", b",test,all,9,900,many,", text),
    ),
    "text where accuracy belongs": ("subnets.csv", lambda text: text.replace(b"0.7", b"good")),
    "cut subnets.csv": ("subnets.csv", lambda text: text[: len(text) // 3]),
    "a seed that is text": ("config.yaml", lambda text: re.sub(rb"seed: \d+", b"seed: abc", text)),
    "binary config.yaml": ("config.yaml", lambda text: bytes(range(256))),
    "a list as config.yaml": ("config.yaml", lambda text: b"- 1\n- 2\n"),
    "a tag in config.yaml": ("config.yaml", lambda text: b"a: !!python/object:os.system {}\n" + text),
    "a number as job.json": ("job.json", lambda text: b"3"),
    "binary job.json": ("job.json", lambda text: bytes(range(256))),
    "text for seconds": ("job.json", lambda text: b'{"status": "done", "seconds": "long"}'),
    "a status that is a list": ("job.json", lambda text: b'{"status": [1]}'),
    "text in metrics.csv": ("metrics.csv", lambda text: b"step,train/gmacs_spent\n1,much\n"),
    "NUL bytes in metrics.csv": ("metrics.csv", lambda text: b"\0" * 100 + text),
    "half an evaluation": ("search/first/evaluations.csv", lambda text: b"id,latency_ms\nabc,1.5\nde,0.9x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_run_is_left_out_with_its_reason_or_read_and_the_others_are(fault, tmp_path):
    make(tmp_path / "good")
    make(tmp_path / "bad", seed=1)
    name, change = FAULTS[fault]
    path = tmp_path / "bad" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    edit(path, change)
    runs, skipped = find_runs([tmp_path])
    assert [r.folder for r in runs if "good" in r.folder]
    assert len(runs) + len(skipped) == 2
    assert all("\n" not in reason and len(reason) > 10 for reason in skipped.values())
    if not fault.endswith("job.json"):  # a job's record is not needed
        assert skipped or name not in ("subnets.csv", "config.yaml")
