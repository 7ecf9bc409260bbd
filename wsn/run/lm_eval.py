"""Benchmarks of lm-eval on a subnet of a language model (needs the package lm-eval)."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsn.errors import WsnError
from wsn.hugging_face import load_tokenizer
from wsn.subnet import Subnet
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
        task → metric → value.

    Raises:
        WsnError: lm-eval is not installed, or does not know a task.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise WsnError("This needs the package lm-eval. Run: pip install 'wsn[lm-eval]'") from error
    manager = TaskManager(include_path=include)
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise WsnError(f"lm-eval has no task {unknown[0]!r}. See lm-eval ls tasks, or pass a folder with your own")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id or 0
    runner = HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=kwargs.pop("batch_size", 1))
    found = simple_evaluate(runner, tasks=list(tasks), task_manager=manager, limit=limit, **kwargs)
    assert found is not None
    results = found["results"].items()
    return {task: {k: v for k, v in values.items() if isinstance(v, int | float)} for task, values in results}


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see ``python -m wsn lm-eval --help``."""
    parser = argparse.ArgumentParser(prog="python -m wsn lm-eval", description="lm-eval's tasks on a subnet")
    parser.add_argument("model_dir", help="as backbone.model_dir")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--subnet", default="largest", help='e.g. smallest, or {"layers": [0, 1, 2]}')
    parser.add_argument("--include", help="a folder with task files of your own")
    parser.add_argument("--limit", type=int, help="samples of each task")
    args = parser.parse_args(argv)
    import wsn

    try:
        net = wsn.create_supernet("llama", model_dir=args.model_dir)
        subnet = net.space.find(args.subnet)
        results = evaluate_tasks(
            net.extract(subnet), load_tokenizer(args.model_dir), args.tasks, args.include, args.limit
        )
    except WsnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"subnet": subnet.id, "results": results}, indent=2))
    return 0
