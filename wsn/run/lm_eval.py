"""Benchmarks of lm-eval on a subnet of a language model (needs the package lm-eval)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wsn.backbones.factory import create_supernet
from wsn.backbones.hugging_face import load_tokenizer
from wsn.cost_models.macs import cost
from wsn.errors import WsnError
from wsn.files import write_csv
from wsn.run.folder import CONFIG
from wsn.run.run import Run
from wsn.space import Subnet
from wsn.supernet import Supernet


def evaluate_tasks(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    include: str | None = None,
    limit: int | None = None,
    **kwargs: Any,
) -> dict[str, dict[str, float]]:
    """Run lm-eval's tasks on an extracted subnet (lm-eval ties weights, which views do not allow).

    Args:
        model: a causal language model of transformers.
        tokenizer: of the model.
        tasks: names of lm-eval's tasks.
        include: a folder with task files of one's own.
        limit: samples of each task.
        **kwargs: passed to ``lm_eval.simple_evaluate``.

    Returns:
        task → metric and filter, e.g. ``acc,none`` → value.

    Raises:
        WsnError: lm-eval is not installed, or does not know a task.
    """
    manager = _task_manager(include)
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise WsnError(f"lm-eval has no task {unknown[0]!r}. See lm-eval ls tasks, or pass a folder with your own")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id or 0
    runner = HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=kwargs.pop("batch_size", 1))
    found = simple_evaluate(runner, tasks=list(tasks), task_manager=manager, limit=limit, **kwargs)
    assert found is not None
    results = found["results"].items()
    return {
        task: {k: v for k, v in values.items() if "," in k and isinstance(v, int | float)} for task, values in results
    }


@cache
def _task_manager(include: str | None) -> Any:
    """Return lm-eval's index of all tasks, which takes seconds to make."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise WsnError("This needs the package lm-eval. Run: pip install 'wsn[lm-eval]'") from error
    return TaskManager(include_path=include)


@dataclass(frozen=True)
class TaskAccuracy:
    """Measures subnets by the mean accuracy on lm-eval's tasks, to select layers by.

    Args:
        tokenizer: a folder, or a name on the Hugging Face hub.
        tasks: names of lm-eval's tasks; all have the metric ``acc``.
        include: a folder with task files of one's own.
        limit: samples of each task.
    """

    tokenizer: str
    tasks: Sequence[str]
    include: str | None = None
    limit: int | None = 40
    larger_is_better = True

    def __call__(self, net: Supernet, subnets: Sequence[Subnet]) -> list[float]:
        """Return the accuracy of each subnet, in [0, 1]."""
        return [self._accuracy(net.extract(subnet)) for subnet in subnets]

    def _accuracy(self, model: Any) -> float:
        found = evaluate_tasks(model, load_tokenizer(self.tokenizer), self.tasks, self.include, self.limit)
        return sum(values["acc,none"] for values in found.values()) / len(found)


def evaluate_subnets(
    model: str, tasks: Sequence[str], subnet: Any = None, include: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Run lm-eval's tasks on subnets of a run, or of a checkpoint as it is.

    Args:
        model: a run folder, where a table ``lm_eval.csv`` is written too; or as ``backbone.model_dir``.
        tasks: names of lm-eval's tasks.
        subnet: of a run as ``wsn evaluate`` takes it, by default its front; else as
            :meth:`wsn.space.SearchSpace.find` takes it, by default the largest.
        include: a folder with task files of one's own.
        limit: samples of each task.

    Returns:
        for each subnet a row: id, params, and ``task/metric`` → value.

    Raises:
        WsnError: see :func:`evaluate_tasks`; a run without a language model, or an unknown subnet.
    """
    if not (Path(model) / CONFIG).exists():
        net, tokenizer = create_supernet("llama", model_dir=model), load_tokenizer(model)
        return list(_rows(net, [net.space.find(subnet or "largest")], tokenizer, tasks, include, limit))
    run = Run(model)
    cfg = run.config
    if OmegaConf.select(cfg, "data.tokenizer") in (None, "bytes"):
        raise WsnError(f"lm-eval needs the run of a language model with a tokenizer; {model} has data.tokenizer: bytes")
    subnets = run.find_all(subnet or "front")
    rows = list(_rows(run.net, subnets, load_tokenizer(cfg.data.tokenizer), tasks, include, limit))
    write_csv(Path(model) / "lm_eval.csv", rows)
    return rows


def _rows(net: Supernet, subnets: Sequence[Subnet], tokenizer: Any, *args: Any) -> Iterator[dict[str, Any]]:
    for found in subnets:
        results = evaluate_tasks(net.extract(found), tokenizer, *args)
        values = {f"{task}/{metric}": value for task, metrics in results.items() for metric, value in metrics.items()}
        yield {"id": found.id, "params": cost(net, found).params, **values}


def print_accuracies(run: str, tasks: Sequence[str], **options: Any) -> None:
    """Print what lm-eval finds, as JSON; see :func:`evaluate_subnets` for arguments and errors."""
    print(json.dumps(evaluate_subnets(run, tasks, **options), indent=2))
