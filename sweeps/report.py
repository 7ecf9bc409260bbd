"""Dashboards of a sweep on Weights & Biases: a report and a workspace, built by code.

``python sweeps/report.py --entity E --group methods`` saves both; ``--dry-run`` prints their JSON and needs no key.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from wsn.comparison.files import against_alone, markdown_table
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison
from wsn.comparison.tables import per_method, verdict
from wsn.errors import WsnError
from wsn.evaluation.quality import ACCURACY, BITS_PER_BYTE, Quality
from wsn.logging.wandb_chart import TABLE_KEY, chart_fields, chart_id, chart_strings

ROLES = ("max", "random", "min")
MOST = 100  # methods in a panel; W&B shows ten unless told
QUALITIES = {quality.key: quality for quality in (ACCURACY, BITS_PER_BYTE)}
TEXTS = {
    "Fronts": "Every subnet of every run, and the best so far as steps; then the front alone, the mean of a method's "
    "runs with a band of one standard deviation over seeds.",
    "Hypervolume against compute": "One point per run: the mean quality over all budgets, and the multiply-adds "
    "(billions, forward and backward) that training has cost.",
    "Losses by role": "The loss of the largest, the random and the smallest subnets of each step, by method.",
    "Spread over seeds": "Mean hypervolume of each method, with one standard deviation over its runs.",
}


def sections(entity: str, quality: Quality) -> dict[str, list[Any]]:
    """Return the panels by section, the same for report and workspace."""
    import wandb_workspaces.reports.v2 as wr

    by_method: dict[str, Any] = {
        "groupby": wr.Config("method_name"),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "stddev",
        "max_runs_to_show": MOST,
    }
    chart = wr.CustomChart(
        query={"summaryTable": {"tableKey": TABLE_KEY}},
        chart_name=chart_id(entity),
        chart_fields=chart_fields(quality),
        chart_strings=chart_strings(quality),
        layout=wr.Layout(w=14, h=12),
    )
    front = wr.LinePlot(
        title="Front, mean and deviation over seeds",
        x="front/gmacs",
        y=[f"front/{quality.key}"],
        log_x=True,
        title_x="multiply-adds (G)",
        title_y=quality.name,
        layout=wr.Layout(x=14, w=10, h=12),
        **by_method,
    )
    spent = wr.ScatterPlot(
        title="Hypervolume against compute",
        x=wr.SummaryMetric("train/gmacs_spent"),
        y=wr.SummaryMetric("test/hypervolume"),
        layout=wr.Layout(w=24, h=10),
    )
    losses = [
        wr.LinePlot(
            title=f"Loss of role {role}",
            y=[f"train/loss/{role}"],
            x="trainer/global_step",
            smoothing_type="exponentialTimeWeighted",
            smoothing_factor=0.8,
            layout=wr.Layout(x=8 * i, w=8, h=8),
            **by_method,
        )
        for i, role in enumerate(ROLES)
    ]
    spread = wr.BarPlot(
        title="Hypervolume, mean and deviation over seeds",
        metrics=["test/hypervolume"],
        max_bars_to_show=MOST,
        layout=wr.Layout(w=24, h=10),
        **by_method,
    )
    return dict(zip(TEXTS, ([chart, front], [spent], losses, [spread])))


def compared(paths: Sequence[str]) -> list[Any]:
    """Return blocks with the tables that need runs trained alone: W&B's panels cannot compute them."""
    import wandb_workspaces.reports.v2 as wr

    comparison = Comparison(*find_runs(paths))
    tables = against_alone(comparison) if comparison.alone else {}
    parts = {"Methods": (" ".join(verdict(comparison)), per_method(comparison)), **tables}
    found: list[Any] = []
    for title, (text, table) in parts.items():
        found += [wr.H2(title), wr.P(text), wr.MarkdownBlock(markdown_table(table))]
    return found


def make(entity: str, project: str, group: str | None, quality: Quality, runs: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return the report and the workspace of a project's training runs, or of one group of them.

    Args:
        entity: user or team.
        project: of W&B.
        group: of runs; None: all.
        quality: what the fronts show.
        runs: folders of the same runs, or ledgers, for the tables of ``compare.py``.
    """
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    filters = [expr.Metric("JobType") == "train"]
    if group:
        filters.append(expr.Metric("Group") == group)
    panels, title = sections(entity, quality), f"Fronts by method: {group or project}"
    blocks: list[Any] = compared(runs) if runs else []
    for name, text in TEXTS.items():
        # A run set without entity is of the report's own project; with one, making the JSON would ask the server.
        runset = wr.Runset(name=group or project, filters=filters)
        blocks += [wr.H2(name), wr.P(text), wr.PanelGrid(runsets=[runset], panels=panels[name])]
    report = wr.Report(entity=entity, project=project, title=title, blocks=blocks, width="fluid")
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[ws.Section(name=name, panels=panels[name], is_open=True) for name in TEXTS],
        settings=ws.WorkspaceSettings(max_runs=MOST),
        runset_settings=ws.RunsetSettings(filters=filters),
    )
    return report, workspace


def as_json(report: Any, workspace: Any) -> str:
    """Return what would be sent to W&B."""
    models = {"report": report._to_model(), "workspace": workspace._to_model()}
    found = {name: json.loads(m.model_dump_json(by_alias=True, exclude_none=True)) for name, m in models.items()}
    return json.dumps(found, indent=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see ``python sweeps/report.py --help``."""
    parser = argparse.ArgumentParser(prog="sweeps/report.py", description="A W&B report and workspace of a sweep")
    parser.add_argument("--entity", help="your user or team; by default the key's own")
    parser.add_argument("--project", default="wsn")
    parser.add_argument("--group", help="runs of this group (name of a sweep) only")
    parser.add_argument("--quality", choices=sorted(QUALITIES), default=ACCURACY.key, help="what the fronts show")
    parser.add_argument(
        "--runs", nargs="+", default=[], help="folders or ledgers of the runs: tables of gaps, break-even, ranks"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the JSON; needs no network and no key")
    args = parser.parse_args(argv)
    try:
        entity = args.entity or ("ENTITY" if args.dry_run else _own_entity())
        report, workspace = make(entity, args.project, args.group, QUALITIES[args.quality], args.runs)
        if args.dry_run:
            print(as_json(report, workspace))
        else:
            _save(report, workspace)
    except ImportError:
        print('error: This needs wandb-workspaces: pip install -e ".[report]"', file=sys.stderr)
        return 1
    except WsnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _own_entity() -> str:
    import wandb

    try:
        return wandb.Api(timeout=30).default_entity
    except wandb.Error as error:
        raise WsnError(f"W&B: {error} Or look without a key: --dry-run") from error


def _save(report: Any, workspace: Any) -> None:
    try:
        report.save()
        workspace.save()
    except Exception as error:  # those of W&B's service are not wandb.Error
        raise WsnError(f"W&B did not take it: {error}. Or look without a key: --dry-run") from error


if __name__ == "__main__":
    sys.exit(main())
