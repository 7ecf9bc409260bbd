"""Two gloo processes against one: same weights, because each trains half of every batch."""

import pytest
import torch
from test_train import SMALL, command, the_run, weights

pytestmark = pytest.mark.ddp


@pytest.mark.parametrize("trainer", ["ddp", pytest.param("ddp_spawn", marks=pytest.mark.slow)])
def test_two_processes_agree_and_leave_one_run(tmp_path, trainer):
    overrides = [f"trainer={trainer}", "trainer.accelerator=cpu", "trainer.devices=2"]
    small = [s for s in SMALL if not s.startswith("data.batch_size")]
    command("train.py", *small, "data.batch_size=8", *overrides, out=tmp_path)
    run = the_run(tmp_path)
    assert (run / "front.json").exists()
    assert all(torch.isfinite(v).all() for v in weights(run).values())
