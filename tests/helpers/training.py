"""Short trainings in this process."""

import copy

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
from wsn.config import build_data
from wsn.run.train import make_module
from wsn.schedule import total_epochs


def make_trainer(callbacks=(), epochs=1, **kwargs):
    """Return a Trainer that writes nothing."""
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ProgressiveShrinking(), *callbacks],
        **kwargs,
    )


def batches(count=3, batch_size=8):
    """Return a loader of random images (B, 1, 24, 24) of four classes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count * batch_size, 1, 24, 24, generator=generator)
    y = torch.randint(0, 4, (count * batch_size,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=batch_size)


def fit(module, loader, epochs=1, **options):
    """Train a module; return the Trainer."""
    trainer = make_trainer(epochs=epochs, **options)
    trainer.fit(module, loader)
    return trainer


def train_a_little(cfg):
    """Train one epoch of each phase."""
    module = make_module(cfg)
    before = copy.deepcopy(module.supernet.state_dict())
    for phase in module.method.phases:
        phase.epochs, phase.warmup_epochs = 1, 0
    run = make_trainer(module.method.callbacks.values(), total_epochs(module.method.phases))
    run.fit(module, datamodule=build_data(cfg.data))
    after = module.supernet.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert all(v.isfinite().all() for v in after.values())
    assert run.callback_metrics["train/gmacs_spent"] > 0


def assert_same_weights(a, b, **tolerance):
    """Compare the parameters of two networks."""
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=lambda m, n=name: f"{n}: {m}", **tolerance)
