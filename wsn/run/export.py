"""Export subnets of a run: files, an index, and a table of what they cost and how good they are."""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from omegaconf import DictConfig
from torch import Tensor, nn

from wsn.config import to_python
from wsn.config.moved import stamp
from wsn.cost_models.latency import Latency
from wsn.deploy.elastic import save_elastic
from wsn.deploy.formats import FORMATS, Export, Source, check_formats
from wsn.deploy.plain import file_size
from wsn.evaluation.evaluate import Candidate, row
from wsn.evaluation.quality import quality_of
from wsn.files import place_for
from wsn.logging.console import quiet
from wsn.logging.progress import progress_bar
from wsn.run.evaluator import Evaluator
from wsn.run.run import Run, run_of
from wsn.space import Subnet
from wsn.supernet.images import at_resolution
from wsn.supernet.leaves import detach_tree, shallow_tree

Row = dict[str, Any]
ELASTIC, INDEX = "elastic", "index.json"


def export_run(cfg: DictConfig, run: Run | None = None) -> Path:
    """Export what ``cfg.subnet`` names of the run ``cfg.run``, in each format of ``cfg.format``.

    BN statistics are calibrated first. Every file is read back and its accuracy measured beside the supernet's.

    Args:
        cfg: as conf/export.yaml.
        run: the run, where it is open already.

    Returns:
        the folder, with ``index.json`` and ``README.md``.

    Raises:
        WsnError: not a run folder, an unknown subnet or format, a network that a format cannot hold.
    """
    quiet()
    formats = [cfg.format] if isinstance(cfg.format, str) else list(cfg.format)
    check_formats(formats, [ELASTIC])
    run = run or run_of(cfg)
    subnets = run.find_all(to_python(cfg.subnet), cfg.search_name)
    folder = Path(cfg.out or run.folder / "export" / _name(cfg.subnet, subnets))
    place_for(folder / INDEX, "out")
    net, evaluator = run.net, Evaluator(run, cfg.split)
    latency = Latency(**cfg.latency)
    views = evaluator.views(subnets)
    found = evaluator.measure(views, subnets)
    rows = [
        {**row(net, Candidate("export", subnet), metrics, split=cfg.split), "latency_ms": latency(net, subnet)}
        for subnet, metrics in zip(subnets, found)
    ]
    exports: list[Row] = []
    files = [name for name in formats if name != ELASTIC]
    with progress_bar(len(subnets) * len(files), "Exporting") as advance:
        for r, subnet, view in zip(rows, subnets, views):
            for name in files:
                where = folder / name if len(subnets) == 1 else folder / subnet.id / name
                export = FORMATS[name](_source(evaluator, subnet, view, r), where)
                exports.append(_measured(evaluator, subnet, export, name, r, folder))
                advance()
    if ELASTIC in formats:
        path = save_elastic(net, views, rows, run.config, folder / ELASTIC)
        exports.append({"id": f"{len(rows)} subnets", "format": ELASTIC, "path": ELASTIC, "bytes": file_size(path)})
    card = model_card(cfg, rows, exports, latency.hardware())
    index = {**stamp(), "subnets": rows, "exports": exports, "hardware": latency.hardware()}
    (folder / INDEX).write_text(json.dumps(index, indent=1), "utf-8")
    (folder / "README.md").write_text(card, "utf-8")
    print(card)
    rank_zero_info(f"Written: {folder}")
    _log(run, folder, rows)
    return folder


def _log(run: Run, folder: Path, rows: Sequence[Row]) -> None:
    """Log what was written to W&B, where the run was logged; what is written stays where that cannot be done."""
    if not run.config.logger.get("wandb"):
        return
    import wandb

    from wsn.logging.wandb import log_export

    try:
        log_export(run.config, run.folder, folder, rows)
    except wandb.Error as error:
        rank_zero_warn(f"Not logged to W&B: {error}. The files are whole; WANDB_MODE=offline wsn export ... logs later")


def model_card(cfg: DictConfig, rows: Sequence[Row], exports: Sequence[Row], hardware: dict[str, Any]) -> str:
    """Return a model card in Markdown: the Pareto table, and the files."""
    quality = quality_of(rows)
    library = "transformers" if quality.key == "bits_per_byte" else "timm"
    subnets = [
        (f"`{r['id']}`", f"{r['macs'] / 1e6:.2f}", f"{r['params'] / 1e6:.3f}", f"{r['params'] * 4e-6:.2f}",
         f"{r['latency_ms']:.2f}", f"{quality.shown(r):.2f}")
        for r in sorted(rows, key=lambda r: r["macs"])
    ]  # fmt: skip
    head = ("subnet", "MACs (M)", "params (M)", "MB", "latency (ms)", f"{quality.label}, {cfg.split}")
    files = []
    for e in exports:
        both = (f"{quality.scale * e[key]:.2f}" if key in e else "" for key in ("measured", "supernet"))
        files.append((f"`{e['id']}`", e["format"], e["path"], f"{e['bytes'] * 1e-6:.2f}", *both))
    return "\n".join([
        "---", f"library_name: {library}", "tags: [weight-shared, once-for-all]", "---",
        f"# Subnets of {Path(cfg.run).name}", "",
        *_table(head, subnets), "",
        f"Latency: median of one forward, {hardware['runtime']}, {hardware['threads']} thread(s), batch "
        f"{hardware['batch']}, on {hardware['name']}.", "",
        *_table(("subnet", "format", "file", "MB", f"{quality.label} of the file", "of the supernet"), files), "",
    ])  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _source(evaluator: Evaluator, subnet: Subnet, view: nn.Module, about: Row) -> Source:
    """Return the network with tensors of its own, and real inputs."""
    network = detach_tree(shallow_tree(view))
    if evaluator.net.inputs == "images":
        examples = [at_resolution(x, subnet).contiguous() for x in evaluator.calibration()[:4]]
    else:
        examples = [inputs[:4] for inputs, _ in islice(evaluator.batches(), 2)]
    shape = list(examples[0].shape[1:])
    described: Row = {key: about[key] for key in ("id", "macs", "params")}
    described.update(subnet=json.loads(subnet.to_json()), input=shape)
    return Source(network.eval(), examples, described, getattr(evaluator.data, "loaded_tokenizer", None))


@torch.no_grad()
def _measured(evaluator: Evaluator, subnet: Subnet, export: Export, name: str, row: Row, folder: Path) -> Row:
    """Measure what was written on the split."""
    quality = quality_of([row])
    metrics = evaluator.data.metrics()
    run: Callable[[Tensor], Tensor] = export.run
    for inputs, labels in evaluator.batches():
        metrics.update(run(at_resolution(inputs, subnet)), labels)
    measured = metrics.results()
    path = export.path.relative_to(folder)
    found = {"id": subnet.id, "format": name, "path": str(path), "bytes": file_size(export.path)}
    return {**found, "measured": measured[quality.key], "supernet": row[quality.key], "metrics": measured}


def _name(spec: Any, subnets: Sequence[Subnet]) -> str:
    return "front" if spec == "front" else subnets[0].id
