"""Golden curves: twenty optimizer steps of every method, on a CPU, in float64, from a fixed seed.

    python tests/golden.py FOLDER [METHOD ...]    # write FOLDER/<method>.csv; tests/assets/losses has the golden ones
    python tests/golden.py --compare A [B]        # two commits on this machine, digit for digit; B: the working tree

A change that must not change numbers leaves these files alone; one that changes them on purpose writes them anew in the
same commit. In float32 the same steps differ between processors by percents: rounding, and the normal distribution that
weights are drawn from, depend on the vector unit, and a few steps of batch norm at a high rate amplify that up to 1e11
times, through channels of almost no variance. With an epsilon of 0.1 in the batch norms that is 1e5 at most, so that in
float64 what remains is far below the tolerance. Dropout is off: its masks depend on the maker of the processor.
"""

import argparse
import csv
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "assets" / "losses"
STEPS = 20
TOLERANCE = 1e-3  # relative; processors differ by less than a hundredth of it
OF_LANGUAGE = ["soft", "matformer", "amoeba", "flextron", "flextron_dynamic", "nemotron_elastic", "llm_qfa"]

IMAGES = [
    "backbone=mobilenet",
    "backbone.width_mult=0.15",
    "backbone.depth=[1,2,3]",
    "backbone.kernel=[3,5]",
    "backbone.expand=[2,3,4]",
    "backbone.strides=[2,1,2,2,1,1,1]",
    "backbone.resolution=[28]",  # that of the images: resizing depends on the vector unit
    "backbone.drop_rate=0",
    "data=fashion_mnist_small",
    "data.batch_size=8",
    "data.val_size=40",
]
TEXT = [
    "backbone=llama",
    "backbone.num_layers=4",
    "backbone.hidden_size=32",
    "backbone.ffn_size=64",
    "data=shakespeare",
    "data.batch_size=16",
    "data.sequence_length=32",
    "data.val_size=16",
]
LORAS = {
    "amoeba": ["method.lora.alpha=2048"],
    "llm_qfa": ["method.alpha=1024"],
}  # on a network that knows nothing they must move far to move the loss
RATES = {"amoeba": 10, "llm_qfa": 10}
EPSILON = 0.1  # of batch norm
FORMAT = ["trainer.precision=64-true", "channels_last=false"]


def methods() -> list[str]:
    """Return every method that trains from scratch."""
    return sorted(path.stem for path in (ROOT / "conf" / "method").glob("*.yaml") if path.stem != "finetune")


def curve(method: str, folder: str | Path, *overrides: str, faster: float = 1) -> list[dict[str, float]]:
    """Train a method for :data:`STEPS` optimizer steps through all of its phases, and return the losses of each batch.

    Args:
        method: of conf/method.
        folder: where a method may keep files.
        *overrides: of the config.
        faster: times the learning rate.
    """
    import torch
    from omegaconf import open_dict

    import wsn  # noqa: F401  repairs torchvision
    from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
    from wsn.config import build_data, compose
    from wsn.run.train import make_module, make_trainer

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the weights are drawn in it
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        task = TEXT if method in OF_LANGUAGE else IMAGES
        paths = [f"paths.output_dir={folder}", f"paths.run_dir={folder}/run"]
        loras = LORAS.get(method, [])
        cfg = compose(ROOT / "conf", [f"method={method}", *task, *FORMAT, *loras, *paths, *overrides])
        cfg.optim.lr *= faster * RATES.get(method, 1)
        cfg.data.images_per_epoch = cfg.data.batch_size * cfg.optim.accumulate  # an epoch is an optimizer step
        shorten([phase for phase in cfg.method.phases.values() if phase is not None])
        torch.manual_seed(0)
        module = make_module(cfg)
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.eps = EPSILON
        callbacks = [ProgressiveShrinking(), *module.method.callbacks.values()]
        with open_dict(cfg):
            cfg.trainer.update(enable_progress_bar=False, enable_checkpointing=False, log_every_n_steps=1)
        trainer = make_trainer(cfg.trainer, module, [*callbacks, recorder := _recorder()], [])
        trainer.fit(module, datamodule=build_data(cfg.data))
        return recorder.rows
    finally:
        torch.set_default_dtype(before)


def shorten(phases) -> None:
    """Give all phases together :data:`STEPS` epochs, each its share; a warm-up has one epoch."""
    lengths = [p.epochs + p.warmup_epochs for p in phases]
    shares = [max(2, round(STEPS * length / sum(lengths))) for length in lengths]
    shares[shares.index(max(shares))] += STEPS - sum(shares)
    for phase, share in zip(phases, shares, strict=True):
        phase.warmup_epochs = min(1, phase.warmup_epochs)
        phase.epochs = share - phase.warmup_epochs


def _recorder():
    from lightning.pytorch.callbacks import Callback

    class Recorder(Callback):
        def __init__(self):
            self.rows = []

        def on_train_batch_end(self, trainer, module, *_):
            logged = [k for k in trainer.callback_metrics if k.startswith("train/")]
            self.rows.append({k.removeprefix("train/"): trainer.callback_metrics.pop(k).item() for k in logged})

    return Recorder()


def write(folder: str | Path, names: list[str]) -> None:
    """Write the curves of these methods as CSV: floats in full, so that equal files are equal numbers."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            rows = curve(name, work)
        keys = sorted({key for row in rows for key in row})
        with open(Path(folder) / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, keys, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}: {rows[0]['loss']:.4f} … {rows[-1]['loss']:.4f}", flush=True)


def read(folder: str | Path, name: str) -> list[dict[str, float]]:
    """Read a curve."""
    with open(Path(folder) / f"{name}.csv") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def difference(a: list[dict[str, float]], b: list[dict[str, float]]) -> float:
    """Return the largest relative difference of two curves; infinite where they have different columns or lengths."""
    if [row.keys() for row in a] != [row.keys() for row in b]:
        return float("inf")
    return max(abs(x[k] - y[k]) / max(abs(x[k]), 1e-9) for x, y in zip(a, b) for k in x)


def compare(first: str, second: str | None) -> int:
    """Run every method at two commits on this machine and report whether the curves are equal digit for digit."""
    with tempfile.TemporaryDirectory() as work:
        found = [_at_commit(commit, Path(work) / str(i)) for i, commit in enumerate((first, second))]
        names = sorted({p.name for folder in found for p in folder.glob("*.csv")})
        unequal = [n for n in names if len({(f / n).read_bytes() if (f / n).exists() else b"" for f in found}) > 1]
        for name in names:
            print(f"{name.removesuffix('.csv'):20} {'differs' if name in unequal else 'equal'}")
        return bool(unequal)


def _at_commit(commit: str | None, work: Path) -> Path:
    """Write the curves of a commit, or of the working tree, by its own golden.py."""
    work.mkdir()
    tree = ROOT if commit is None else work / "tree"
    if commit is not None:
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], cwd=ROOT, check=True, capture_output=True)
    try:
        env = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run([sys.executable, tree / "tests/golden.py", work / "out"], cwd=tree, env=env, check=True)
    finally:
        if commit is not None:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    return work / "out"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="where the curves are written")
    parser.add_argument("method", nargs="*", default=[])
    parser.add_argument("--compare", nargs="+", metavar="COMMIT")
    given = parser.parse_args()
    if given.compare:
        sys.exit(compare(given.compare[0], given.compare[1] if len(given.compare) > 1 else None))
    if not given.folder:
        parser.error("give the folder to write to, or --compare COMMIT")
    write(given.folder, given.method or methods())
