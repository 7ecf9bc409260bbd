"""compare.py on run folders made by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wsn.errors import WsnError
from wsn.pareto import read_csv, write_csv
from wsn.run.compare import compare, find_runs

ROOT = Path(__file__).parents[1]


def make_run(folder, method, seed, accuracies, tags=()):
    kinds = ("smallest", "middle", "largest") if method != "plain" else ("alone",)
    rows = [
        {"id": f"id{macs}", "kind": kind, "split": "test", "step": 9, "macs": macs * 10**6, "params": macs, "acc": acc,
         "acc5": 1.0, "loss": 0.5, "latency_ms": None, "phase": "all", "epoch": 1, "arch": "{}"}
        for kind, (macs, acc) in zip(kinds, accuracies.items())
    ]  # fmt: skip
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    OmegaConf.save({"method": {"name": method}, "seed": seed, "tags": list(tags)}, folder / "config.yaml")
    write_csv(folder / "subnets.csv", rows)
    metrics = [{"step": 9, "train/gmacs_spent": 100.0 + seed, "pareto/hypervolume": None},
               {"step": 9, "train/gmacs_spent": None, "pareto/hypervolume": sum(accuracies.values()) / 3}]  # fmt: skip
    write_csv(folder / "metrics.csv", metrics)


@pytest.fixture
def sweep(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, {1: 0.60, 2: 0.70, 4: 0.80})
    make_run(tmp_path / "b", "ofa", 1, {1: 0.62, 2: 0.72, 4: 0.82})
    make_run(tmp_path / "c", "ofa", 0, {1: 0.50, 2: 0.60, 4: 0.90}, tags=["no ramp"])
    make_run(tmp_path / "d", "plain", 0, {1: 0.65})
    make_run(tmp_path / "e", "plain", 1, {1: 0.67})
    (tmp_path / "unfinished").mkdir()
    OmegaConf.save({"seed": 0}, tmp_path / "unfinished" / "config.yaml")
    return tmp_path


def test_means_deviations_and_gaps_over_seeds(sweep):
    assert len(find_runs([sweep])) == 5
    table = compare([sweep], sweep / "out")
    lines = table.splitlines()
    first = [c.strip() for c in lines[2].split("|")[1:-1]]
    assert first[:7] == ["`ofa`", "2", "71.00 ± 1.41", "61.0 ± 1.4", "71.0 ± 1.4", "81.0 ± 1.4", "71.0 ± 1.4"]
    assert first[7:10] == ["-5.0", "–", "–"]  # 61 against 66 alone
    assert "`ofa+no ramp`" in lines[3]
    assert "66.0 ± 1.4, 2 seeds" in table
    assert (sweep / "out" / "comparison.md").read_text() == table
    assert len(read_csv(sweep / "out" / "comparison.csv")) == 5
    assert (sweep / "out" / "comparison.png").stat().st_size > 20_000


def test_mistakes_are_one_error(sweep, tmp_path):
    with pytest.raises(WsnError, match="does not exist"):
        find_runs([sweep / "nope"])
    with pytest.raises(WsnError, match="No finished run"):
        find_runs([sweep / "unfinished"])
    with pytest.raises(WsnError, match="method=plain"):
        compare([sweep / "d"], sweep)
    done = subprocess.run(
        [sys.executable, "compare.py", str(sweep / "nope")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
