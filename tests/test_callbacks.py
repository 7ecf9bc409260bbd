"""Progressive shrinking and averaged weights, in process."""

import copy
from functools import partial

import lightning as L
import pytest
import torch
from helpers.nets import make_net
from helpers.training import batches
from lightning.pytorch.callbacks import EMAWeightAveraging

from wsn.callbacks.checkpoint import AtomicCheckpointIO, load_checkpoint
from wsn.callbacks.common import averages
from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
from wsn.errors import WsnError
from wsn.methods.base import Method
from wsn.module import SupernetModule
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase, RoleLoss, constant

LOSSES = {"max": RoleLoss(), "random": RoleLoss(distill=1.0, target="teacher")}
PHASES = {
    "full": Phase(1, roles=["max"], choices={"kernel": "top1", "depth": "top1", "expand": "top1"}),
    "depth": Phase(1, roles=["random"] * 2, choices={"expand": "top1"}),
    "expand": Phase(1, roles=["random"] * 3, order_channels=True),
}


class Spy(SupernetModule):
    """Notes what each phase sees."""

    seen: list

    def training_step(self, batch, batch_idx):
        draws = self.sampler.sample(self.global_step)
        state = len(self.optimizers().state)
        self.seen.append((self.current_epoch, {d.role for d in draws}, len(draws), self.method.teacher, state))
        assert all(d.subnet in self.sampler.space for d in draws)
        super().training_step(batch, batch_idx)


def run(callbacks=(), phases=PHASES):
    net = make_net()
    method = Method("ofa", phases, LOSSES)
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    module = Spy(net, method, UniformSampler(net.space, seed=1), optimizer, constant)
    module.seen = []
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=len(phases),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ProgressiveShrinking(), *callbacks],
    )
    trainer.fit(module, batches(2))
    return trainer, module


def test_phases_change_sampler_teacher_and_optimizer():
    _, module = run()
    epochs, roles, counts, teachers, momentum = zip(*module.seen)
    assert epochs == (0, 0, 1, 1, 2, 2)
    assert roles == ({"max"}, {"max"}, *[{"random"}] * 4)
    assert counts == (1, 1, 2, 2, 3, 3)
    assert teachers[0] is None
    assert teachers[2] is teachers[5] is not None  # the full network, frozen once
    assert not any(p.requires_grad for p in teachers[5].parameters())
    assert [n > 0 for n in momentum] == [False, True] * 3  # a fresh optimizer in each phase


def test_the_teacher_is_the_full_network_of_the_first_phase():
    _, module = run(phases={"full": PHASES["full"]})
    expected = copy.deepcopy(module.supernet.model.state_dict())
    _, longer = run(phases={name: PHASES[name] for name in ("full", "depth")})
    teacher = longer.method.teacher.state_dict()
    for name, value in expected.items():
        if "running" not in name and "num_batches" not in name:  # it runs in training mode, as released
            assert torch.equal(teacher[name], value), name


def test_channels_are_sorted_before_the_expand_phase():
    sort = Phase(1, roles=["max"], order_channels=True, lr_scale=1e-10)
    trainer, module = run(phases={"full": PHASES["full"], "sort": sort})
    for path in module.supernet.elastic:
        scores = module.supernet.model.get_submodule(path).conv_pwl.weight.abs().sum((0, 2, 3))
        assert (scores.diff() <= 1e-5).all()


def test_averaged_weights_follow_the_ordering():
    trainer, module = run([EMAWeightAveraging(decay=0.0)])  # without memory the average is the network itself
    (average,) = averages(trainer)
    for a, b in zip(average.parameters(), module.supernet.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_full_disk_is_one_error_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WsnError, match=r"No space left.*before it is intact.*resume="):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": 1}}, path)
    assert load_checkpoint(path) == {"state_dict": {}}
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_unreadable_checkpoints(tmp_path):
    with pytest.raises(WsnError, match="no checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(WsnError, match="corrupt"):
        load_checkpoint(tmp_path / "last.ckpt")
    torch.save({"a": 1}, tmp_path / "last.ckpt")
    with pytest.raises(WsnError, match="no state_dict"):
        load_checkpoint(tmp_path / "last.ckpt")
