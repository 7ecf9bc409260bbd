"""What there is to choose from: the config groups, and what the backbones have."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from wsn.config import CONF, build_group, compose
from wsn.errors import WsnError
from wsn.run.cli import GROUPS


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

    from wsn.cost_models.macs import cost

    rows: list[tuple[str, ...]] = []
    for path in sorted((conf / "backbone").glob("*.yaml")):
        cfg = compose(conf, [f"backbone={path.stem}", "data=imagenet", "data.root=."])
        if cfg.backbone.get("inputs") == "text":
            cfg = compose(conf, [f"backbone={path.stem}", "data=shakespeare"])
        with torch.device("meta"):
            net = build_group(cfg.backbone)
        small, large = (cost(net, s) for s in (net.space.min(), net.space.max()))
        macs = f"{small.macs / 1e6:.0f}–{large.macs / 1e6:.0f}"
        params = f"{small.params / 1e6:.2f}–{large.params / 1e6:.2f}"
        rows.append((path.stem, f"{net.space.size():.3g}", macs, params, header(path)))
    return rows


def show(group: Sequence[str] | None = None, conf: str | Path | None = None) -> None:
    """Print one table per config group.

    Args:
        group: names of :data:`wsn.run.cli.GROUPS`; None: all.
        conf: the folder of the configs; None: wsn's own.

    Raises:
        WsnError: another folder.
    """
    conf, groups = Path(conf or CONF), group or GROUPS
    if not (conf / "train.yaml").exists():
        raise WsnError(f"{conf} is not wsn's config folder. Leave conf=... out, or type conf=/path/of/wsn/conf")
    console = Console()
    if "backbone" in groups:
        table = Table("backbone", "subnets", "MACs (M)", "params (M)", "", title="backbone=…")
        for r in backbone_rows(conf):
            table.add_row(*r)
        console.print(table)
    for name in (g for g in groups if g != "backbone"):
        table = Table(name, "", title=f"{name}=…", title_justify="left")
        for path in sorted((conf / name).glob("*.yaml")):
            table.add_row(path.stem, header(path))
        console.print(table)
