"""The commands: ``wsn train method=ofa``; ``python -m wsn train`` and, in a checkout, ``python train.py`` do the same.

Nothing heavy is imported here: ``--help`` and mistakes answer before torch is loaded.
"""

import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

from wsn import __version__
from wsn.errors import WsnError, listed, not_written
from wsn.run.options import REQUIRED, Option, describe, read_options

GROUPS = (
    "backbone", "method", "sampler", "data", "optim", "scheduler", "evaluation", "trainer", "callbacks", "logger",
    "launcher", "hparams_search", "search", "cost", "experiment",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command of wsn.

    Args:
        about: what it does.
        example: what to type after its name.
        function: ``module:function`` that gets the options; None: Hydra configures it, by conf/<name>.yaml.
        options: key → option, of a command that Hydra does not configure.
        word: the option that words without a key were in earlier versions.
    """

    about: str
    example: str
    function: str | None = None
    options: Mapping[str, Option] | None = None
    word: str | None = None


_TRUST = Option("modules of yours that the run's config may name, docs/security.md", None, list, example="mylab")
_TABLE = {
    "run": Option("run folder; its supernet is measured", REQUIRED, example="outputs/train/..."),
    "trust": _TRUST,
    "device": Option("what is measured", "cpu", allowed=("cpu", "cuda"), example="cuda"),
    "runtime": Option("what runs the blocks", "eager", allowed=("eager", "compile", "onnxruntime"), example="compile"),
    "threads": Option("of the CPU", 1, int, example="1"),
    "batch": Option("inputs in a forward", 1, int, example="1"),
    "channels_last": Option("memory format", False, bool, example="true"),
    "min_seconds": Option("of each block", 0.05, float, example="0.05"),
    "check": Option("subnets measured as a whole, for the error of the sums", 10, int, example="10"),
    "export": Option(
        "folder: write the blocks as ONNX for another device instead, see docs/latency.md", example="blocks"
    ),
    "measured": Option("the measured.csv of such a folder: make the table of it", example="blocks/measured.csv"),
    "name": Option("of the device that it was measured on", "device", example="pixel"),
    "out": Option("file; null: latency_<device>_<runtime>.json in the run folder", example="table.json"),
}
_LM_EVAL = {
    "run": Option("run folder, or a language model as backbone.model_dir", REQUIRED, example="outputs/train/..."),
    "trust": _TRUST,
    "tasks": Option("names of lm-eval's tasks", REQUIRED, list, example="[arc_easy,hellaswag]"),
    "subnet": Option(
        "as of wsn evaluate; null: the front of a run, the largest of a model", None, object, example="largest"
    ),
    "include": Option("folder with task files of your own", example="folder"),
    "limit": Option("samples of each task; null: all", None, int, example="100"),
}

COMMANDS = {
    "train": Command("train a supernet, or with -m a sweep of them", "method=ofa backbone=mobilenet"),
    "evaluate": Command("evaluate subnets of a run", "run=outputs/train/... subnet=smallest"),
    "search": Command("search a run for its best subnets", "run=outputs/train/... 'constraints=macs<=8e6'"),
    "export": Command("write subnets of a run as files", "run=outputs/train/... 'subnet=best@macs<=8e6' format=onnx"),
    "compare": Command(
        "compare runs by method, over seeds",
        "runs=outputs/sweeps/mine",
        "wsn.run.compare:compare_runs",
        {
            "runs": Option("run folders, or folders of them", REQUIRED, list, example="outputs/sweeps/mine"),
            "out": Option("folder of the results; null: the first of the runs", example="outputs/comparison"),
        },
        word="runs",
    ),
    "list": Command(
        "what there is to choose from: backbones with space size and cost, methods, data ...",
        "group=[backbone,method]",
        "wsn.run.listing:show",
        {
            "group": Option("config groups; null: all", None, list, GROUPS, example="backbone"),
            "conf": Option("folder of the configs; null: wsn's own", example="conf"),
        },
        word="group",
    ),
    "latency-table": Command(
        "measure the blocks of a run's supernet once on this device",
        "run=outputs/train/... device=cpu",
        "wsn.run.latency_table:build_table",
        _TABLE,
    ),
    "lm-eval": Command(
        "lm-eval's tasks on subnets of a language model",
        "run=outputs/train/... tasks=[arc_easy]",
        "wsn.run.lm_eval:print_accuracies",
        _LM_EVAL,
        word="run",
    ),
    "wandb-setup": Command(
        "register the chart of fronts with Weights & Biases",
        "entity=ME",
        "wsn.run.wandb_setup:print_chart",
        {
            "entity": Option("your user or team on W&B", REQUIRED, example="ME"),
            "project": Option("is made if it is not there", "wsn", example="wsn"),
        },
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; None: that of the process. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"wsn {__version__}")
        return 0
    if arguments[0] in ("-sc", "--shell-completion"):
        return _complete(arguments)
    return run_command(arguments[0], arguments[1:])


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run one command and return the exit status; a mistake is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a locale that does not know ★: ? stands there
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # its first import on a machine lists fonts, and says so
    try:
        if name not in COMMANDS:
            raise WsnError(_unknown(name))
        command = COMMANDS[name]
        if command.function is None or command.options is None:
            from wsn.run.tasks import start

            start(name, arguments)
            return 0
        if any(a in ("-h", "--help") for a in arguments):
            print(f"wsn {name}: {command.about}\n\nOptions, as key=value:\n{describe(command.options)}\n")
            print(f"For example: wsn {name} {command.example}")
            return 0
        options = read_options(command.options, arguments, command.word)
        if trust := options.pop("trust", None):
            from wsn.config.trust import trusting

            trusting(trust)
        module, _, function = command.function.partition(":")
        getattr(import_module(module), function)(**options)
    except Exception as error:
        text = str(error) if isinstance(error, WsnError) else not_written(error, "Then type the command again")
        if text is None or os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"error: {text}", file=sys.stderr)
        return 1
    return 0


def _complete(arguments: Sequence[str]) -> int:
    """Answer a shell: what completes the line that is typed. What Hydra configures, Hydra completes."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if not any(argument.startswith("query=") for argument in arguments):
        return run_command("train", arguments)  # installs the completion, which is of all commands
    if len(words) + line.endswith(" ") < 3:
        print(*COMMANDS)
    elif words[1] in COMMANDS and COMMANDS[words[1]].options is None:
        os.environ["COMP_LINE"] = line.replace(f" {words[1]}", "", 1)
        return run_command(words[1], arguments)
    elif words[1] in COMMANDS:
        print(*(f"{key}=" for key in COMMANDS[words[1]].options or ()))
    return 0


def _help() -> str:
    lines = [
        f"  {name:<14} {command.about}\n{'':<17}wsn {name} {command.example}" for name, command in COMMANDS.items()
    ]
    return "\n".join(
        [
            "wsn: one network, every size",
            "",
            "wsn COMMAND key=value ...",
            "",
            *lines,
            "",
            "What a command takes: wsn COMMAND --help. Version: wsn --version",
        ]
    )


def _unknown(name: str) -> str:
    close = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean wsn {close[0]}? " if close else ""
    hint = f"Type e.g. wsn train {name}. " if "=" in name else hint
    return f"{name!r} is no command of wsn. {hint}Allowed: {listed(COMMANDS)}"
