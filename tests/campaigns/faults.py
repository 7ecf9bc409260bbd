"""Damage the files of a run, then use it: one clear error, or a line that says what was left out; nothing read wrong.

    python tests/campaigns/faults.py            # writes docs/data/faults.csv
    python tests/campaigns/faults.py --report   # what docs/reliability.md says

``right``: the error is one line, or what was left out is said and the rest is as before. ``silent``: other results than
before and nothing said. ``traceback``: an error of ours.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["WSN_TRUST"] = "helpers"

from helpers.scripts import SMALL, command, the_run  # noqa: E402
from test_faults import DAMAGED, DAMAGES, damage  # noqa: E402

from wsn.files import read_csv, write_csv  # noqa: E402

TABLE = ROOT / "docs" / "data" / "faults.csv"
CHECKPOINT = "checkpoints/last.ckpt"
MEASURE = ["evaluate.py", "subnet=smallest", "out=again.csv"]


def faults(run: Path) -> Iterator[tuple[str, str, bytes, list[str], str]]:
    """Yield name, file, its damaged bytes, the command that then uses it, and the file whose rows are looked at."""
    rng = random.Random(0)
    data = (run / CHECKPOINT).read_bytes()
    for at in [*rng.sample(range(len(data)), 24), *rng.sample(range(len(data) - 1500, len(data)), 6)]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        yield f"a bit of the checkpoint at {at}", CHECKPOINT, bytes(flipped), MEASURE, "again.csv"
    for size in (0, 1, 1000, len(data) // 2, len(data) - 1):
        yield f"checkpoint cut at {size}", CHECKPOINT, data[:size], MEASURE, "again.csv"
    verbs = (MEASURE, ["search.py", "evaluations=3", "search=random"], ["export.py", "subnet=smallest"], ["train.py"])
    for i, (kind, content) in enumerate(DAMAGED.items()):
        yield f"config: {kind}", "config.yaml", content, verbs[i % 4], ""
    search = next(run.glob("search/*/evaluations.csv"))
    for name, words in (
        (str(search.relative_to(run)), ["search.py", "evaluations=4", "search=random"]),
        ("subnets.csv", ["export.py", "subnet=best", "search_name=null"]),
    ):
        lines = (run / name).read_bytes().splitlines(keepends=True)
        for kind in DAMAGES:
            damaged = b"".join(damaged_lines(kind, lines))
            yield f"{name.rpartition('/')[2]}: {kind}", name, damaged, words, ""
    for name in ("space.json", "quality.json"):
        for content in (b"", b"[1,", b"{}", bytes(range(256))):
            yield f"{name}: {content[:4]!r}", name, content, MEASURE, "again.csv"
    for name in ("subnets.csv", "config.yaml", "metrics.csv"):
        for content in (b"", b"\0\0\0", bytes(range(256)), b"a,b\n1\n", b"{"):
            yield f"compare, {name}: {content[:4]!r}", name, content, ["compare"], ""


def damaged_lines(kind: str, lines: list[bytes]) -> list[bytes]:
    """Return a table with a kind of damage; text takes the place of the cost."""
    if kind == "text for a number":
        fields = lines[3].split(b",")
        at = lines[0].split(b",").index(b"macs")
        return [*lines[:3], b",".join([*fields[:at], b"many", *fields[at + 1 :]]), *lines[4:]]
    return damage(kind, lines)[0]


def main() -> None:
    """Make a run, damage copies of it, and write what came of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    if parser.parse_args().report:
        report(read_csv(TABLE))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        short = ["method=spos", "method.phases.0.epochs=1", "method.phases.0.warmup_epochs=0"]
        command("train.py", *SMALL, *short, out=out / "made")
        run = the_run(out / "made")
        command("search.py", f"run={run}", "evaluations=3", "search=random", out=out)
        command(MEASURE[0], f"run={run}", *MEASURE[1:], out=out)
        for fault in faults(run):
            rows.append(tried(*fault, run, out))
            print(rows[-1], flush=True)
    write_csv(TABLE, rows)
    report(rows)


def tried(
    name: str, file: str, content: bytes, words: list[str], table: str, run: Path, out: Path
) -> dict[str, object]:
    """Damage a copy of the run, use it, and say what came of it."""
    copy = out / "copies" / "damaged"
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(run, copy)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file() and p.suffix in (".csv", ".ckpt", ".json")}
    (copy / file).write_bytes(content)
    if file == "subnets.csv":
        shutil.rmtree(copy / "search")  # whose rows would be taken
    script, *rest = words
    if script == "compare":
        shutil.copytree(run, out / "copies" / "whole")
        done = command("wsn/__main__.py", "compare", f"runs={copy.parent}", f"out={out}/page", out=out, check=False)
        told = "left out" in done.stderr
    else:
        key = "resume" if script == "train.py" else "run"
        done = command(script, f"{key}={copy}", *rest, out=out, check=False)
        told = "damaged" in done.stderr or "is empty" in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    lost = [p for p in before if p != copy / file and "search" not in p.parts and not (p.exists() and p.stat().st_size)]
    if "Traceback" in done.stderr + done.stdout:
        result = "traceback"
    elif lost:
        result = f"lost {lost[0].name}"
    elif done.returncode:
        result = "one error" if len(errors) == 1 else "unclear"
    elif told:
        result = "said"
    elif table and read_csv(run / table) == read_csv(copy / table):
        result = "as before"
    else:
        result = "as before" if harmless(name) else "silent"
    told_text = " ".join([*errors, *done.stderr.splitlines()[-1:]]).replace(str(out), "OUT").replace(str(ROOT), ".")
    return {"fault": name, "result": result, "label": told_text[-200:]}


def harmless(name: str) -> bool:
    """Tell whether a damage changes no row that is used: a table of other columns, a log that is not read."""
    return name.startswith("compare, metrics.csv") or name.endswith("an empty line")


def report(rows: list[dict]) -> None:
    """Print the figures."""
    print(f"{len(rows)} faults:", json.dumps(dict(Counter(row["result"] for row in rows))))
    for row in rows:
        if row["result"] not in ("one error", "said", "as before"):
            print("-", row["result"], "|", row["fault"], "|", row["label"])


if __name__ == "__main__":
    main()
