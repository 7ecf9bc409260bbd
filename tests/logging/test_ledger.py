"""Ledgers: what a sweep has finished outlives its folders, and is not run again."""

import json

import pytest
from omegaconf import OmegaConf

import wsn
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison
from wsn.files import read_csv, write_csv
from wsn.logging.ledger import Ledger, job_key, read_ledger, trained_alone
from wsn.logging.results import print_results
from wsn.run.job import run_in
from wsn.space import Dimension, SearchSpace

SPACE = SearchSpace([Dimension("depth", [1, 2, 3])])


def rows_of(accuracies, split="test", epoch=9):
    subnets = [SPACE.subnet(depth=d) for d in (1, 2, 3)]
    return [
        {"id": s.id, "kind": "named", "split": split, "phase": "all", "epoch": epoch, "step": 90, "macs": 100 * i,
         "params": 10 * i, "latency_ms": None, "acc": acc, "acc5": 1.0, "loss": 0.5, "arch": s.to_json()}
        for i, (s, acc) in enumerate(zip(subnets, accuracies), start=1)
    ]  # fmt: skip


def config(ledger, method="ofa", seed=0, version=1, tags=()):
    return OmegaConf.create({
        "method": {"name": method}, "tags": list(tags), "seed": seed, "data": {"name": "toys"},
        "backbone": {"name": "mobilenet"}, "ledger": str(ledger), "recipe_version": version, "trainer": {},
        "resume": None,
    })  # fmt: skip


def job(tmp_path, name, cfg, accuracies, calls):
    """Run a job of a sweep whose training only writes what it measured."""
    folder = tmp_path / "sweep" / name
    folder.mkdir(parents=True, exist_ok=True)

    def train(_):
        calls.append(name)
        held_out = [row for epoch in (8, 9) for row in rows_of(accuracies, "val", epoch)]
        write_csv(folder / "subnets.csv", held_out + rows_of(accuracies))
        return {"train/gmacs_spent": 12.3456789, "pareto/hypervolume": 0.5, "test/hypervolume": 0.6}

    overrides = [f"method={cfg.method.name}", f"seed={cfg.seed}", f"tags=[{','.join(cfg.tags)}]", "sweep=any"]
    return run_in(folder, overrides, cfg, train)


def test_a_finished_job_is_not_run_again_when_its_folder_is_gone(tmp_path, capsys):
    ledger, calls = tmp_path / "ledger", []
    first = job(tmp_path, "ofa_seed-0", config(ledger), [0.5, 0.6, 0.7], calls)
    for path in sorted((tmp_path / "sweep").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = job(tmp_path, "ofa_seed-0", config(ledger), [0.1, 0.1, 0.1], calls)
    assert again == pytest.approx(first)
    assert f"ofa_seed-0: done before, in {ledger}" in capsys.readouterr().out
    job(tmp_path, "ofa_seed-0", config(ledger, version=2), [0.55, 0.6, 0.7], calls)  # another recipe
    assert calls == ["ofa_seed-0", "ofa_seed-0"]
    (run,) = read_ledger(ledger)  # the newest
    assert (run["recipe"], run["train/gmacs_spent"]) == (2, 12.345679)
    assert [row["acc"] for row in run["rows"] if row["split"] == "test"] == [0.55, 0.6, 0.7]
    assert len(read_csv(ledger / "subnets.csv")) == 3


def test_what_a_crash_left_behind_is_written_anew(tmp_path):
    ledger, calls = tmp_path / "ledger", []
    job(tmp_path, "ofa_seed-0", config(ledger), [0.5, 0.6, 0.7], calls)
    write_csv(
        ledger / "runs.csv", [{"job": "another", "recipe": 1, "overrides": "seed=0"}]
    )  # results without their run
    assert Ledger(ledger).find(job_key("ofa", ["tags=[]", "method=ofa", "seed=0"])) is None
    (tmp_path / "sweep" / "ofa_seed-0" / "job.json").unlink()
    job(tmp_path, "ofa_seed-0", config(ledger), [0.5, 0.6, 0.7], calls)
    assert len(read_csv(ledger / "results.csv")) == 3 * 3


def test_ledgers_are_compared_as_run_folders_are(tmp_path):
    ledger, calls = tmp_path / "ledger", []
    job(tmp_path, "ofa_seed-0", config(ledger), [0.5, 0.6, 0.7], calls)
    job(tmp_path, "ofa_seed-1", config(ledger, seed=1), [0.6, 0.6, 0.7], calls)
    job(tmp_path, "plain_seed-0", config(ledger, "plain"), [0.55, 0.65, 0.7], calls)
    job(tmp_path, "plain_seed-1", config(ledger, "plain", seed=1), [0.65, 0.65, 0.7], calls)
    comparison = Comparison(*find_runs([ledger]))
    assert comparison.seeds == {"ofa": [0, 1]}
    first = next(iter(comparison.alone))
    assert comparison.gaps("ofa")[first] == pytest.approx([-5, -5])
    assert comparison.epoch_ranks("ofa")[0] == pytest.approx([1, 1])
    run = comparison.groups["ofa"][0]
    assert (run.gmacs, run.seed, run.subnets["quality"]) == (12.345679, 0, pytest.approx([50, 60, 70]))


def test_the_last_table_shows_what_subnets_reach_alone(tmp_path, capsys):
    ledger, calls = tmp_path / "ledger", []
    job(tmp_path, "plain_a", config(ledger, "plain", tags=["slow"]), [0.4, 0.6, 0.7], calls)
    job(tmp_path, "plain_b", config(ledger, "plain"), [0.51, 0.5, 0.5], calls)
    job(tmp_path, "plain_c", config(ledger, "plain", seed=1), [0.53, 0.5, 0.5], calls)
    alone = trained_alone(ledger, "toys")
    assert sorted(alone.values()) == pytest.approx([0.52, 0.6, 0.7])  # mean over seeds, the better recipe
    assert trained_alone(ledger, "other data") == {}
    assert trained_alone(tmp_path / "nothing", "toys") == {}
    rows = rows_of([0.5, 0.5, 0.5])
    print_results(rows[:1], alone=alone)
    assert "52.00" in capsys.readouterr().out
    print_results([{**rows[0], "macs": 7}], alone=alone)  # another network of the same choices
    assert "alone" not in capsys.readouterr().out


def test_subnets_of_tables_are_named_by_their_ids(tmp_path):
    path = tmp_path / "subnets.csv"
    write_csv(path, rows_of([0.5, 0.6, 0.7]))
    subnet = SPACE.subnet(depth=2)
    assert SPACE.find(f"{path}:{subnet.id}") == subnet
    with pytest.raises(wsn.WsnError, match="has no subnet 'abc'"):
        SPACE.find(f"{path}:abc")
    with pytest.raises(wsn.WsnError, match="Cannot read"):
        SPACE.find(f"{tmp_path}/nothing.csv:abc")
    assert json.loads(subnet.to_json()) == {"depth": 2}


def test_jobs_of_other_sweeps_are_told_apart_by_what_they_compute():
    own = ["method=plain", "method.subnet=smallest", "optim.lr=0.1", "seed=0"]
    assert job_key("plain", own) == job_key("plain", [*reversed(own), "paths.output_dir=x", "sweep=b", "ledger=c"])
    assert job_key("plain", own) != job_key(
        "plain", ["method=plain", "method.subnet=largest", "optim.lr=0.1", "seed=0"]
    )
    assert job_key("plain", own) != job_key("plain", own[:-1] + ["seed=1"])
