"""Search the subnets of a finished or running run."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf import DictConfig, OmegaConf

from wsn.config import build, build_group, to_python
from wsn.cost_models.base import CostModel
from wsn.errors import WsnError, listed
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import DIRECTIONS, quality_of_metrics, worst_of
from wsn.logging.console import quiet
from wsn.logging.plots import MACS, Axis, plot_front
from wsn.logging.progress import progress_bar
from wsn.logging.results import print_results
from wsn.run.evaluator import Evaluator, Workers
from wsn.run.folder import CONFIG, hold
from wsn.run.run import Run, run_of
from wsn.search.constraint import Constraint
from wsn.search.problem import Problem, Row, Spent, check_objectives
from wsn.search.store import RowFile
from wsn.space import SearchSpace, Subnet

# What does not change which subnets a search comes to.
_FREE = ("run", "trust", "evaluations", "group", "workers", "name", "paths", "data")


def search_run(cfg: DictConfig, run: Run | None = None) -> Front:
    """Search the run ``cfg.run``; results are in ``<run>/search/<name>``, where the same command goes on.

    Every evaluation is appended to ``evaluations.csv`` as soon as it is known; ``front.json`` and ``front.png`` are
    written at the end, after Ctrl-C too.

    Args:
        cfg: as conf/search.yaml.
        run: the run, where it is open already.

    Returns:
        the front within the constraints.

    Raises:
        WsnError: not a run folder, a corrupt checkpoint, unknown objectives, or no subnet within the constraints.
    """
    quiet()
    folder = search_folder(cfg)
    with hold(folder, "searching"):
        return _search(cfg, run, folder)


def _search(cfg: DictConfig, run: Run | None, folder: Path) -> Front:
    evaluator = Evaluator(run or run_of(cfg), cfg.split, cfg.calibrate, cfg.group)
    costs = {name: build(node) for name, node in cfg.cost.items()}
    rows = RowFile(folder / "evaluations.csv")
    known = list(_known(rows, evaluator.net.space))
    problem = Problem(
        evaluator.net.space,
        evaluator if not cfg.workers else Workers(evaluator, cfg.workers),
        _cost_functions(costs, evaluator.net, folder),
        _objectives(cfg, costs, evaluator.metric_names),
        Constraint.parse_all(to_python(cfg.constraints)),
        cfg.evaluations,
        cfg.seed,
        known,
    )
    check_objectives(problem, [*evaluator.metric_names, *(rows.rows[0] if rows.rows else ())])
    OmegaConf.save(cfg, folder / CONFIG)
    strategy = build_group(cfg.search)
    try:
        _run(problem, strategy, rows, cfg.search.name)
    except KeyboardInterrupt:
        print(f"Interrupted after {len(rows.rows)} evaluations; the same command goes on", file=sys.stderr)
        _finish(problem, costs, folder, cfg)
        sys.exit(130)
    front = _finish(problem, costs, folder, cfg)
    _report(strategy.report(problem), folder)
    return front


def _known(rows: RowFile, space: SearchSpace) -> Iterator[tuple[Subnet, Row]]:
    """Yield the subnets that were evaluated; those of another space stay in the file, and are said."""
    unknown = 0
    for row in rows.rows:
        try:
            subnet = space.find(row["arch"])
        except WsnError:
            unknown += 1
            continue
        yield subnet, row
    if unknown:
        print(f"{rows.path}: {unknown} rows do not count, whose subnets this space does not have", file=sys.stderr)


def search_folder(cfg: DictConfig) -> Path:
    """Return the folder of a search: its name, or its strategy and a digest of its settings."""
    settings = {key: value for key, value in cfg.items() if key not in _FREE}
    if settings["checkpoint"] == "last":
        del settings["checkpoint"]
    text = OmegaConf.to_yaml(OmegaConf.create(settings), sort_keys=True)
    name = cfg.name or f"{cfg.search.name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return Path(cfg.run) / "search" / name


def _run(problem: Problem, strategy: Any, rows: RowFile, name: str) -> None:
    """Search until the evaluations are spent, and show how far it is."""
    total, reference = problem.evaluations, _reference(problem)
    with progress_bar(total, f"Searching ({name})", done=len(rows.rows)) as advance:

        def keep(new: Row) -> None:
            rows.append(new)
            try:
                volume = problem.front().hypervolume(reference) / _box(reference)
                advance(f"Searching ({name}), hypervolume {100 * volume:.2f}")
            except WsnError:  # a metric that is not a number
                advance()

        problem.on_row = keep
        with suppress(Spent):
            strategy.run(problem)


def _reference(problem: Problem) -> dict[str, float]:
    """Return the worst values that count: the largest subnet's costs, and knowing nothing."""
    largest = problem.cost(problem.space.max())
    return {key: largest[key] if key in largest else worst_of(key) for key in problem.objectives}


def _box(reference: dict[str, float]) -> float:
    """Return the largest possible hypervolume: from nothing to the reference."""
    box = 1.0
    for value in reference.values():
        box *= abs(value) or 1.0
    return box


def _objectives(cfg: DictConfig, costs: dict[str, CostModel], metrics: Sequence[str]) -> dict[str, str]:
    if cfg.objectives is None:
        quality = quality_of_metrics(metrics)
        return {next(iter(costs)): "min", quality.key: quality.direction}
    wanted = to_python(cfg.objectives)
    # names alone: costs are minimised, metrics have a direction
    found = wanted if isinstance(wanted, dict) else {key: DIRECTIONS.get(key, "min") for key in wanted}
    return dict(sorted(found.items(), key=lambda item: item[0] in metrics))  # the last one is a metric


def _cost_functions(costs: dict[str, CostModel], net: Any, folder: Path) -> dict[str, Callable[[Subnet], float]]:
    """Return functions of a subnet; what is measured is kept on the disk, so that a search can be repeated exactly."""
    return {name: _remembered(model, net, folder / f"{name}.csv") for name, model in costs.items()}


def _remembered(model: CostModel, net: Any, path: Path) -> Callable[[Subnet], float]:
    if model.hardware() is None:
        return lambda subnet: model(net, subnet)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = RowFile(path)
    known = {r["id"]: r["value"] for r in file.rows}
    path.with_suffix(".json").write_text(json.dumps(model.hardware(), indent=1), "utf-8")

    def measured(subnet: Subnet) -> float:
        if subnet.id not in known:
            known[subnet.id] = model(net, subnet)
            file.append({"id": subnet.id, "value": known[subnet.id]})
        return known[subnet.id]

    return measured


def _finish(problem: Problem, costs: dict[str, CostModel], folder: Path, cfg: DictConfig) -> Front:
    front = problem.front()
    if not problem.results():
        return front
    if not len(front):
        raise WsnError(
            f"None of the {len(problem.results())} evaluated subnets keeps to {listed(problem.constraints)}; they are "
            f"in {folder / 'evaluations.csv'}. Relax a constraint, or search longer with evaluations=..."
        )
    front.to_json(folder / "front.json")
    first, last = list(problem.objectives)[0], list(problem.objectives)[-1]
    rows = [{**r, "on_front": r in front} for r in problem.results()]
    if first in costs and last == quality_of_metrics(list(rows[0])).key:
        axis = Axis(first, costs[first].label, costs[first].scale) if first != MACS.key else MACS
        flat = Front(front, {first: problem.objectives[first], last: problem.objectives[last]})
        title = f"{cfg.search.name}: {len(rows)} subnets, {cfg.split} split"
        plot_front(rows, flat.rows, folder / "front.png", title, axis)
    print_results([{**r, "on_front": True} for r in front])
    rank_zero_info(f"Written: {folder}")
    return front


def _report(found: dict[str, dict[str, float]], folder: Path) -> None:
    """Write and print how good a strategy's predictions are."""
    for metric, values in found.items():
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        rank_zero_info(f"Predictor of {metric}, by 5-fold cross-validation: {text}")
    if found:
        (folder / "predictor.json").write_text(json.dumps(found, indent=1), "utf-8")
