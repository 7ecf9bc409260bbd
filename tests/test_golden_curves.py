"""Twenty optimizer steps of every method give the losses of tests/assets/losses: recipes do not drift unseen."""

import os
import subprocess
import sys

import golden
import pytest
import torch

METHODS = golden.methods()
CONSTANTS = {"rate": {"faster": 1.2}, "label smoothing": {"overrides": ["++method.label_smoothing=0.2"]}}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_method_has_a_curve():
    assert sorted(path.stem for path in golden.GOLDEN.glob("*.csv")) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_method_trains_as_it_did(method, tmp_path):
    found, expected = golden.curve(method, tmp_path), golden.read(golden.GOLDEN, method)
    assert sum("lr" in row for row in found) >= golden.STEPS
    difference = golden.difference(found, expected)
    assert difference < golden.TOLERANCE, (
        f"{method} differs by {difference:.1e}. If numbers were to change, write them anew in the same commit: "
        f"python tests/golden.py tests/assets/losses {method}"
    )


@pytest.mark.parametrize("method", [m if m == "spos" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
@pytest.mark.parametrize("constant", CONSTANTS)
def test_changed_constant_changes_the_curve(method, constant, tmp_path):
    changed = CONSTANTS[constant]
    found = golden.curve(method, tmp_path, *changed.get("overrides", ()), faster=changed.get("faster", 1))
    losses = [losses_of(rows) for rows in (found, golden.read(golden.GOLDEN, method))]
    assert golden.difference(*losses) > 10 * golden.TOLERANCE


def losses_of(rows):
    return [{key: value for key, value in row.items() if key.startswith("loss")} for row in rows]


@pytest.mark.slow
def test_curves_hold_on_another_processor(tmp_path):
    """The vector unit is the oldest that torch and oneDNN know."""
    old = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, golden.__file__, tmp_path], check=True, env=old, capture_output=True)
    drift = {m: golden.difference(golden.read(tmp_path, m), golden.read(golden.GOLDEN, m)) for m in METHODS}
    assert max(drift.values()) < golden.TOLERANCE / 10, drift
