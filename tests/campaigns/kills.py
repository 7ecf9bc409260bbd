"""Kill trainings at random moments, resume them, and compare every file with that of a run that was not killed.

    python tests/campaigns/kills.py [--kills 300]   # goes on from the rows in docs/data/kills.csv
    python tests/campaigns/kills.py --report        # what docs/reliability.md says

A run is killed (SIGKILL) any time after its first checkpoint; every third resumed run is killed once more. Equal means:
the weights, optimizer and random state of the last checkpoint, best.ckpt, metrics.csv, subnets.csv, front.json, the
config, the names of all files, and of runs with ``logger=wandb`` the history that ``wandb sync`` would upload.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["WSN_TRUST"] = "helpers"

from helpers.scripts import SMALL, command, start, the_run  # noqa: E402
from helpers.wandb_files import history  # noqa: E402

from wsn.files import read_csv, write_csv  # noqa: E402

TABLE = ROOT / "docs" / "data" / "kills.csv"
IMAGES = [*SMALL, "callbacks.checkpoint.every_n_steps=1", "evaluation.every_n_epochs=1"]
TEXT = [
    "debug=fast_language", "backbone=llama", "data=shakespeare", "trainer.limit_train_batches=3",
    "evaluation.every_n_epochs=1", "trainer.enable_progress_bar=false", "callbacks.checkpoint.every_n_steps=1",
    "paths.output_dir=${oc.env:OUT}",
]  # fmt: skip
SHORT = ["method.phases.0.epochs=3", "method.phases.0.warmup_epochs=0"]
CASES = {
    "ofa": ["method=ofa", *IMAGES, *[f"method.phases.{i}.epochs=1" for i in range(6)],
            "method.phases.0.warmup_epochs=0"],
    "bignas": ["method=bignas", *IMAGES, *SHORT],
    "sortednet, accumulated": ["method=sortednet", *IMAGES, *SHORT, "optim.accumulate=2"],
    "shift": ["method=spos", "sampler=shift", *IMAGES, *SHORT],
    "pa_da": ["method=pa_da", *IMAGES, *SHORT],
    "deps with EMA": ["method=deps", "callbacks=ema", *IMAGES, "method.phases.0.epochs=2", "method.phases.1.epochs=2",
                      "method.phases.0.warmup_epochs=0"],
    "soft, text": ["method=soft", *TEXT, *SHORT],
    "amoeba, text": ["method=amoeba", *TEXT, "method.phases.0.epochs=2"],
    "flextron, text": ["method=flextron", *TEXT, *[f"method.phases.{i}.epochs=1" for i in range(3)]],
    "bignas, W&B offline": ["method=bignas", "logger=wandb", "logger.wandb.offline=true", *IMAGES, *SHORT],
}  # fmt: skip


def run_case(case: str, rng: random.Random, whole: dict[str, tuple[Path, float]], out: Path) -> dict[str, object]:
    """Kill and resume one run, and say what differs."""
    reference, seconds = whole[case]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    moments, resumed = [], None
    while True:
        words = CASES[case] if resumed is None else [f"resume={resumed}"]
        process = start("train.py", *words, out=out)
        if len(moments) < (1 if rng.random() < 2 / 3 else 2):
            moment = kill(process, out, rng.random() * seconds * 0.9)
            if moment is not None:
                moments.append(moment)
                resumed = the_run(out)
                continue
        process.join(300)
        break
    found = different(reference, the_run(out))
    if process.exitcode != 0:
        found = [f"exit {process.exitcode}", *found]
    return {"case": case, "kills": len(moments), "moments": " ".join(moments), "differs": " ".join(found)}


def kill(process: object, out: Path, delay: float) -> str | None:
    """Kill a training that has a checkpoint, after some time; what was there then, or None where it had ended."""
    while process.is_alive() and not list(out.rglob("last.ckpt")):
        time.sleep(0.002)
    process.join(delay)
    if not process.is_alive():
        return None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    run = the_run(out)
    names = {p.name for p in run.rglob("*")}
    rows = read_csv(run / "metrics.csv") if "metrics.csv" in names else []
    return f"row{len(rows)}{'+tested' if any(r.get('test/hypervolume') for r in rows) else ''}"


def different(whole: Path, run: Path) -> list[str]:
    """Return what a resumed run has otherwise than one that was not killed."""
    pairs = [(name, state(whole, name), state(run, name)) for name in ("last.ckpt", "best.ckpt")]
    pairs += [(name, read_csv(whole / name), read_csv(run / name)) for name in ("metrics.csv", "subnets.csv")]
    found = [name + where for name, a, b in pairs if (where := difference(a, b)) is not None]
    for name in ("front.json", "space.json", "quality.json"):
        if (whole / name).read_bytes() != (run / name).read_bytes():
            found.append(name)
    if config(whole) != config(run):
        found.append("config.yaml")
    if names(whole) != names(run):
        found += sorted(str(name) for name in names(whole) ^ names(run))
    if (whole / "wandb").exists():
        found += histories(whole, run)
    return found


def config(run: Path) -> list[str]:
    """Return the lines of a run's config, without the names of its folders and its id at W&B."""
    text = (run / "config.yaml").read_text("utf-8")
    for folder in (run, *run.parents[:3]):
        text = text.replace(str(folder), "")
    return [line for line in text.split("\n") if not line.strip().startswith("id:")]


def names(run: Path) -> set[Path]:
    """Return the files of a run, besides W&B's and locks."""
    paths = {path.relative_to(run) for path in run.rglob("*") if path.is_file()}
    return {path for path in paths if path.parts[0] != "wandb"}


def state(run: Path, name: str) -> object:
    """Return what a checkpoint holds, as plain values; without Lightning's count of its own starts."""
    path = run / "checkpoints" / name
    content = torch.load(path, weights_only=True) if path.exists() else {}
    content.pop("loops", None)
    return content


def difference(a: object, b: object, path: str = "") -> str | None:
    """Return where two nested values differ first; None where they do not."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return None if a.shape == b.shape and torch.equal(a, b) else path
    if type(a) is not type(b):
        return path
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{path}/{sorted(map(str, a.keys() ^ b.keys()))[0]}"
        pairs = [(str(key), a[key], b[key]) for key in a]
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{path}/{len(a)}:{len(b)}"
        pairs = [(str(i), x, y) for i, (x, y) in enumerate(zip(a, b))]
    else:
        return None if a == b else path
    return next((found for key, x, y in pairs if (found := difference(x, y, f"{path}/{key}"))), None)


def histories(whole: Path, run: Path) -> list[str]:
    """Return how the history that would be uploaded differs: values by step, each once."""
    found = []
    values = []
    for folder in (whole, run):
        seen = Counter()
        for row in history(folder):
            step = row.get("trainer/global_step")
            seen.update((step, key, str(value)) for key, value in row.items() if not left_out(key))
        values.append(seen)
    for word, less, more in (("lacks", *values), ("adds", *values[::-1])):
        if missing := sorted(map(str, set(less) - set(more))):
            found.append(f"wandb {word} {len(missing)}: {missing[0]}")
    if values[0] != values[1] and not found:
        found.append("wandb repeats")
    return found


def left_out(key: str) -> bool:
    """Tell whether a value is of time, or of a file whose name is random."""
    return key.startswith(("_", "pareto/picture", "pareto/subnets", "pareto/front", "Custom Chart Tables")) or key in (
        "epoch",
        "trainer/global_step",
    )


def report() -> None:
    """Print the figures."""
    rows = read_csv(TABLE)
    print(f"{sum(r['kills'] for r in rows)} kills in {len(rows)} runs, {sum(not r['differs'] for r in rows)} exact")
    for case in CASES:
        own = [r for r in rows if r["case"] == case]
        bad = Counter(word for r in own for word in (r["differs"] or "").split())
        print(f"| {case} | {sum(r['kills'] for r in own)} | {sum(not r['differs'] for r in own)} of {len(own)} | {bad}")


def main() -> None:
    """Kill until there are enough rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    if given.report:
        report()
        return
    rows = read_csv(TABLE) if TABLE.exists() else []
    seed = len(rows) if given.seed is None else given.seed
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole: dict[str, tuple[Path, float]] = {}
        for number, case in enumerate(given.only):
            out = Path(folder) / f"whole{number}"
            command("train.py", *CASES[case], out=out)
            run = the_run(out)
            first = min(p.stat().st_mtime for p in run.rglob("*") if p.is_file())
            whole[case] = (run, time.time() - first)
            print(f"{case}: {whole[case][1]:.1f} s", flush=True)
        while sum(int(r["kills"]) for r in rows) < given.kills:
            case = rng.choice(given.only)
            row = run_case(case, rng, whole, Path(folder) / "killed")
            print(row, flush=True)
            if row["kills"]:
                rows.append(row)
                TABLE.parent.mkdir(parents=True, exist_ok=True)
                write_csv(TABLE, rows)


if __name__ == "__main__":
    main()
