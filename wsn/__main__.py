"""``python -m wsn list``: what there is to choose from; other commands measure a run or set up a dashboard."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from wsn.errors import WsnError, listed

GROUPS = (
    "method",
    "sampler",
    "data",
    "optim",
    "scheduler",
    "evaluation",
    "trainer",
    "callbacks",
    "logger",
    "launcher",
    "hparams_search",
    "search",
    "cost",
    "experiment",
)


def header(path: Path) -> str:
    """Return the comment at the head of a config file."""
    lines = path.read_text("utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return next((c for c in comments if not c.startswith("@package")), "")


def backbone_rows(conf: Path) -> list[tuple[str, ...]]:
    """Return name, space size, smallest and largest cost, and description of each backbone.

    Of images at 1000 classes; of text for one token.
    """
    import torch

    import wsn
    from wsn.config import build_group, compose

    rows: list[tuple[str, ...]] = []
    for path in sorted((conf / "backbone").glob("*.yaml")):
        cfg = compose(conf, [f"backbone={path.stem}", "data=imagenet", "data.root=."])
        if cfg.backbone.get("inputs") == "text":
            cfg = compose(conf, [f"backbone={path.stem}", "data=shakespeare"])
        with torch.device("meta"):
            net = build_group(cfg.backbone)
        small, large = (wsn.cost(net, s) for s in (net.space.min(), net.space.max()))
        cost = f"{small.macs / 1e6:.0f}–{large.macs / 1e6:.0f}"
        params = f"{small.params / 1e6:.2f}–{large.params / 1e6:.2f}"
        rows.append((path.stem, f"{net.space.size():.3g}", cost, params, header(path)))
    return rows


def show(conf: Path, groups: list[str]) -> None:
    """Print one table per config group."""
    console = Console()
    if "backbone" in groups:
        table = Table("backbone", "subnets", "MACs (M)", "params (M)", "", title="backbone=…")
        for r in backbone_rows(conf):
            table.add_row(*r)
        console.print(table)
    for group in (g for g in groups if g != "backbone"):
        table = Table(group, "", title=f"{group}=…", title_justify="left")
        for path in sorted((conf / group).glob("*.yaml")):
            table.add_row(path.stem, header(path))
        console.print(table)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; see ``python -m wsn --help``."""
    parser = argparse.ArgumentParser(prog="python -m wsn", description="wsn: one network, every size")
    commands = parser.add_subparsers(dest="command", required=True)
    lister = commands.add_parser("list", help="backbones with space size and cost, methods, samplers, data ...")
    lister.add_argument("group", nargs="*", help=f"only these: backbone, {', '.join(GROUPS)}")
    lister.add_argument("--conf", default="conf", type=Path, help="the config folder")
    commands.add_parser("lm-eval", help="lm-eval's tasks on a subnet of a language model", add_help=False)
    table = "latencies of the blocks of a run's supernet on this device"
    commands.add_parser("latency-table", help=table, add_help=False)
    commands.add_parser("wandb-setup", help="register the chart of fronts with Weights & Biases", add_help=False)
    args, rest = parser.parse_known_args(argv)
    if args.command == "latency-table":
        from wsn.run.latency_table import main as latency_table

        return latency_table(rest)
    if args.command == "lm-eval":
        from wsn.run.lm_eval import main as lm_eval

        return lm_eval(rest)
    if args.command == "wandb-setup":
        from wsn.run.wandb_setup import main as wandb_setup

        return wandb_setup(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if not (args.conf / "train.yaml").exists():
            raise WsnError(f"{args.conf} is not wsn's config folder. Run this in the repository, or pass --conf=/path")
        groups = args.group or ["backbone", *GROUPS]
        unknown = [g for g in groups if g not in ("backbone", *GROUPS)]
        if unknown:
            raise WsnError(f"Unknown group {listed(unknown)}. Allowed: backbone, {listed(GROUPS)}")
        show(args.conf, groups)
    except WsnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
