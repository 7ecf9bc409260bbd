"""Give every command what makes no sense: each is to be refused in one clear error, best before torch is imported.

    python tests/campaigns/bad_inputs.py            # goes on from the rows in docs/data/bad_inputs.csv
    python tests/campaigns/bad_inputs.py --report   # what docs/reliability.md says

``before torch``: refused by the config alone. ``clear``: refused later, in one error. ``traceback``: an error of ours.
``silent``: nothing was said, exit status 0. The first two are right.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["WSN_TRUST"] = "helpers"

from helpers.scripts import SMALL, command, the_run, without_torch  # noqa: E402

from wsn.config.ranges import RANGES  # noqa: E402
from wsn.files import read_csv, write_csv  # noqa: E402

TABLE = ROOT / "docs" / "data" / "bad_inputs.csv"
RIGHT = ("before torch", "clear")
LONGEST = 4
"""Lines of a clear error, Hydra's own among them."""

TRAIN = """
method=offa
method=
backbone=mobilnet
backbone=
data=fashion
sampler=unifrom
optim=adamm
scheduler=cosin
trainer=tpu
logger=wandbb
evaluation=none
callbacks=emma
experiment=nothing
debug=slow
launcher=sbatch
metod=ofa
methd.name=ofa
method.phase.full.epochs=1
method.phases.ful.epochs=1
method.phases.full.epoch=1
method.phases.full.epochs=abc
method.phases.9.epochs=1
method.phases.full.roles=max
method.phases.full.roles=[]
method.phases.full.roles=[huge]
method.phases.full.choices.expand=[7]
method.phases.full.choices.wings=[1]
method.phases.full.choices.widths=top0
method.phases.full.choices.widths=[1]
method.phases=null
method.losses.max=null
method.losses.max.labels=abc
method.losses.max.label=1
method.losses.random.target=nobody
method.losses.random.distil=1
method.losses.min.labels=-1
method.aggregation=median
method.teacher_mode=sleep
method.label_smoothing=abc
method.distillation._target_=os.system
method.follow={wings:depths}
method.init._target_=wsn.nothing
method=plain method.subnet=huge
method=plain method.subnet=
method=plain method.subnet='{depth:9}'
method=plain method.subnet=nothere.json
method=slimmable backbone=vit backbone.model=nothing
backbone.kernel=[2]
backbone.kernel=[]
backbone.kernel=abc
backbone.depth=[0]
backbone.depth=-1
backbone.expand=[-3]
backbone.expand=[a,b]
backbone.width_mult=0
backbone.width_mult=-1
backbone.width_mult=abc
backbone.resolution=[]
backbone.resolution=[0]
backbone.resolution=abc
backbone.num_classes=abc
backbone.strides=[2]
backbone.strides=abc
backbone.act=nothing
backbone.wings=2
backbone=timm_cnn backbone.model=nothing
backbone=timm_cnn backbone.model=vit_tiny_patch16_224
backbone=timm_cnn backbone.model=
backbone=slimmable backbone.model=nothing
backbone=slimmable backbone.width=[2.0]
backbone=slimmable backbone.width=[]
backbone=vit backbone.heads=[5]
backbone=vit backbone.embed_dim=[0]
backbone=vit backbone.patch_size=[0]
backbone=llama
backbone=llama data=shakespeare backbone.num_heads=3
backbone=llama data=shakespeare backbone.hidden_size=-8
backbone=llama data=shakespeare backbone.kv_heads=3
backbone=llama data=shakespeare backbone.model_dir=/nowhere
backbone=llama data=shakespeare backbone.architecture=banana
backbone=llama data=shakespeare data.sequence_length=0
backbone=llama data=shakespeare data.sequence_length=100000
data=shakespeare
data=imagefolder
data=imagefolder data.root=/nowhere
data=imagefolder data.root=/etc/hostname
data=imagenet data.root=/nowhere
data=cifar10 data.download=false data.root=/nowhere
data=text data.train=/nowhere
data.num_classes=3
data.num_classes=abc
data.in_chans=3
data.in_chans=0
data.image_size=abc
data.batch_size=0
data.batch_size=100000
data.images_per_epoch=5
data.val_size=0
data.val_size=1000000
data.mixup=abc
data.crop_padding=-1
data.crop_padding=abc
data.flip=maybe
data.root=/nowhere
data.bach_size=3
data.hints.width_mult=abc
sampler.seed=3
sampler.shared=[wings]
sampler=fair sampler.roles=[max]
sampler=attentive sampler.pick=middle
sampler=attentive sampler.candidates=0
sampler=shift sampler.floor=2
sampler=path_importance sampler.tau=7
optim.lr=abc
optim.lr=0
optim.lr=
optim.momentum=5
optim.optimizer._target_=torch.optim.Nothing
optim.optimizer.momentums=0.9
optim.clip_norm=1 optim.clip_value=1
optim.accumulate=1000
scheduler.curve._target_=wsn.schedule.nothing
scheduler.warmup_from=-1
trainer.accelerator=quantum
trainer.devices=2
trainer.devices=0
trainer.devices=abc
trainer.precision=7-bit
trainer.max_epochs=abc
trainer.limit_train_batches=0
trainer.limit_train_batches=-3
trainer.log_every_n_steps=0
trainer.nothing=1
evaluation.named=[1]
evaluation.named.tiny=tiny
evaluation.named.tiny={depth:77}
evaluation.panel=abc
evaluation.every_n_epochs=-1
evaluation.table=/nowhere.csv
callbacks.checkpoint.monitor=val/nothing/acc
callbacks.checkpoint.every_n_steps=abc
callbacks.nothing.x=1
resume=/nowhere
resume=/etc
resume=
resume=. method=bignas
budget_gmacs=abc
budget_gmacs=1e12
budget_gmacs=1e-9
optimized_metric=nothing -m seed=0,1
seed=
seed=[1,2]
paths.output_dir=/proc/nothing
paths.output_dir=/dev/null/x
paths.run_dir=/etc/hostname/x
ledger=/proc/nothing -m seed=0
--epochs 3
--lr=0.1
ofa
-x
+method.callbacks.mine._target_=nothing.Here
+callbacks.mine._target_=nothing.Here
+callbacks.mine._target_=builtins.print
method.phases.full={epochs:-1}
method.phases.full.warmup_epochs=-1
method.phases.full.lr=abc
method.name=
tags=abc
tags=5
channels_last=maybe
"""
RUN = """
evaluate.py subnet=huge
evaluate.py subnet=abcdef1234
evaluate.py subnet='{depth:9}'
evaluate.py subnet='{wings:9}'
evaluate.py subnet=best@macs<=1
evaluate.py subnet=best@wings<=1
evaluate.py subnet=best@macs
evaluate.py subnet=mix
evaluate.py subnet=sorted@7
evaluate.py subnet=route@0
evaluate.py subnet=route@0.5
evaluate.py split=train
evaluate.py panel=-1
evaluate.py panel=abc
evaluate.py checkpoint=third
evaluate.py checkpoint=/nowhere.ckpt
evaluate.py calibrate=maybe
evaluate.py out=/proc/x.csv
evaluate.py +data.root=/nowhere
evaluate.py +data.nothing=1
evaluate.py nothing=1
search.py search=genetic
search.py constraints=macs
search.py constraints=wings<=3
search.py constraints=macs<=abc
search.py constraints=macs<=1
search.py evaluations=0
search.py evaluations=abc
search.py cost=[wings]
search.py objectives={wings:min}
search.py objectives={macs:sideways}
search.py split=train
search.py workers=-1
search.py group=0
search.py seed=abc
search.py name=../../x
search.py search.population=0
export.py subnet=huge
export.py subnet=best@macs<=1
export.py subnet=largest format=tflite
export.py subnet=largest format=[]
export.py subnet=largest format=huggingface
export.py subnet=largest out=/proc/x
export.py subnet=largest split=train
export.py subnet=
export.py
export.py subnet=largest search_name=nothing
latency_table device=tpu
latency_table threads=0
latency_table batch=abc
latency_table runtime=tensorrt
latency_table nothing=1
latency_table out=/proc/x
"""
OTHER = """
evaluate run=/nowhere
evaluate run=/etc
evaluate
search run=
export run=/nowhere subnet=largest
compare runs=/nowhere
compare runs=/etc
compare
compare nothing=1
compare runs=/etc out=/proc/x
list group=nothing
list conf=/nowhere
list nothing
latency-table
latency-table run=/nowhere
lm-eval run=/nowhere tasks=[arc]
lm-eval tasks=[arc]
lm-eval run=/etc tasks=[arc]
wandb-setup
trian method=ofa
method=ofa
--nothing
"""


def lines_of(text: str) -> list[str]:
    """Return the inputs of a list."""
    return [line for line in text.splitlines() if line.strip()]


def ranges() -> list[str]:
    """Return a value outside every range that the configs know, and one of another type."""
    found = []
    for key, allowed in RANGES.items():
        if "*" in key or "." not in key:
            continue
        for value in (
            allowed.low - 1 if allowed.low > -1e300 else None,
            allowed.high + 1 if allowed.high < 1e300 else None,
        ):
            if value is not None and value not in allowed:
                found.append(f"{key}={value:g}")
    return found


def main() -> None:
    """Try what the table does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    rows = read_csv(TABLE) if TABLE.exists() else []
    if given.report:
        report(rows)
        return
    rows = [row for row in rows if row["result"] in RIGHT]  # what went wrong is tried again
    known = {row["input"] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name, tries in (("train", [*lines_of(TRAIN), *ranges()]), ("run", lines_of(RUN)), ("wsn", lines_of(OTHER))):
            run = None
            for line in dict.fromkeys(tries):
                given_input = f"{name} {line}" if name != "run" else line
                if given_input in known:
                    continue
                if name == "run" and run is None:
                    short = ["method=spos", "method.phases.0.epochs=1", "method.phases.0.warmup_epochs=0"]
                    command("train.py", *SMALL, *short, out=out / "made")
                    run = the_run(out / "made")
                try:
                    found = tried(name, line, run, out / "out")
                except subprocess.TimeoutExpired:
                    found = {"result": "silent", "lines": 0, "said": "trained for minutes"}
                row = {"input": given_input, **found}
                print(row, flush=True)
                rows.append(row)
                TABLE.parent.mkdir(parents=True, exist_ok=True)
                write_csv(TABLE, rows)


def tried(name: str, line: str, run: Path | None, out: Path) -> dict[str, object]:
    """Give one input and say what came of it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    given = shlex.split(line)
    if name == "run":
        script, *rest = given
        script, rest = ("wsn/__main__.py", ["latency-table", *rest]) if script == "latency_table" else (script, rest)
        verb, run_is = rest[: script.endswith("__main__.py")], f"run={run}"
        return judged(command(script, *verb, run_is, *rest[len(verb) :], out=out, check=False, timeout=120), "clear")
    script = "train.py" if name == "train" else "wsn/__main__.py"
    early = without_torch(script, *given)
    if early.returncode and "Traceback" not in early.stderr and "None in sys.modules" not in early.stderr:
        return judged(early, "before torch")
    keys = {word.partition("=")[0] for word in given}
    small = FAST if name == "train" and "resume" not in keys else []
    small = [word for word in small if word.partition("=")[0] not in keys]
    return judged(command(script, *given, *small, out=out, check=False, timeout=120), "clear")


FAST = [
    "trainer.limit_train_batches=2", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "evaluation.panel=0",
    "data.images_per_epoch=256", "paths.output_dir=${oc.env:OUT}",
]  # fmt: skip


def judged(done: object, result: str) -> dict[str, object]:
    """Return the columns of one input."""
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(("INFO", "Set the env"))]
    said = [line for line in said if "Warning" not in line and not line.startswith("  ")] or said
    if done.returncode == 0:
        result = "silent"
    elif "Traceback" in done.stderr or "Traceback" in done.stdout:
        result = "traceback"
    elif not said:
        result = "nothing said"
    elif len(said) > LONGEST:
        result = "long"
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/\w+", "OUT", " | ".join(said)).replace(str(ROOT), ".")
    return {"result": result, "lines": len(said), "said": text[-300:]}


def report(rows: list[dict]) -> None:
    """Print the figures."""
    print(f"{len(rows)} inputs:", dict(Counter(row["result"] for row in rows)))
    for row in rows:
        if row["result"] not in RIGHT:
            print("-", row["result"], "|", row["input"], "|", row["said"])


if __name__ == "__main__":
    main()
