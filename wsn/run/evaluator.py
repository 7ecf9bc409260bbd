"""Evaluating subnets of a run by the hundred: in this process, or in several."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.data import DataLoader

from wsn.errors import WsnError
from wsn.evaluation.evaluate import Candidate, calibrated_views, measure, row
from wsn.search.problem import Row
from wsn.space import Subnet
from wsn.supernet.prefix import prefix_order

if TYPE_CHECKING:
    from wsn.run.run import Run

KEPT_BYTES = 2**31  # of a split's inputs in memory; ImageNet's validation set is loaded anew for each group


class Evaluator:
    """Evaluates subnets of a run on one of its splits, in groups that share what they have in common.

    Args:
        run: whose network and data.
        split: ``val`` or ``test``.
        calibrate: recompute BN statistics of each subnet.
        group: subnets evaluated together.

    Raises:
        WsnError: a corrupt checkpoint, or an unknown split.
    """

    def __init__(self, run: "Run", split: str = "val", calibrate: bool = True, group: int = 16):
        if split not in ("val", "test"):
            raise WsnError(f"split must be val or test. Received {split!r}")
        self.run = run
        self.net = run.net
        self.data = run.data
        self.split = split
        self.calibrate = calibrate
        self.group = max(1, group)
        self.channels_last = run.config.channels_last
        self.metric_names = self.data.metrics().names
        self._batches: Sequence | DataLoader | None = None

    def __call__(self, subnets: Sequence[Subnet]) -> Iterator[tuple[Subnet, Row]]:
        """Yield (subnet, row) group by group."""
        for group in self.groups(subnets):
            yield from zip(group, self.rows(group))

    def groups(self, subnets: Sequence[Subnet]) -> list[list[Subnet]]:
        """Divide subnets into groups of similar ones."""
        ordered = [subnets[i] for i in prefix_order(self.net, subnets)]
        return [ordered[i : i + self.group] for i in range(0, len(ordered), self.group)]

    def rows(self, subnets: Sequence[Subnet]) -> list[Row]:
        """Evaluate subnets together and return their records."""
        found = self.measure(self.views(subnets), subnets)
        return [row(self.net, Candidate("search", s), m, split=self.split) for s, m in zip(subnets, found)]

    def views(self, subnets: Sequence[Subnet]) -> list[nn.Module]:
        """Return views of subnets with BN statistics of their own."""
        return calibrated_views(self.net, subnets, self.calibration() if self.calibrate else None, self.channels_last)

    def measure(
        self, views: Sequence[nn.Module], subnets: Sequence[Subnet], on_batch: Callable[[], None] | None = None
    ) -> list[dict[str, float]]:
        """Return the metrics of views; ``on_batch`` is called after each (subnet, batch)."""
        return measure(self.net, views, subnets, self.batches(), self.data.metrics, self.channels_last, on_batch)

    def batches(self) -> Sequence | DataLoader:
        """Return the batches of the split; small data is kept, because every group sees the same batches."""
        if self._batches is None:
            loader = self.data.test_dataloader() if self.split == "test" else self.data.val_dataloader()
            size = next(iter(loader))[0].nbytes * len(loader)
            self._batches = list(loader) if size <= KEPT_BYTES else loader
        return self._batches

    def calibration(self) -> list:
        """Return the training images for BN calibration."""
        return self.data.calibration_batches()


class Workers:
    """Evaluates groups of subnets in several processes, each with its own copy of the run.

    Args:
        evaluator: of this process, which groups the subnets.
        workers: processes, which share the cores.
    """

    def __init__(self, evaluator: Evaluator, workers: int):
        threads = max(1, (os.cpu_count() or 1) // workers)
        self.evaluator = evaluator
        options = (evaluator.split, evaluator.calibrate, evaluator.group)
        given = (threads, evaluator.run.opened_by, options)
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, given)

    def __call__(self, subnets: Sequence[Subnet]) -> Iterator[tuple[Subnet, Row]]:
        """Yield (subnet, row) as groups are ready."""
        groups = self.evaluator.groups(subnets)
        jobs = {self._pool.submit(_work, [s.to_json() for s in group]): group for group in groups}
        try:
            for job in as_completed(jobs):
                yield from zip(jobs[job], job.result())
        except BaseException:
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker: Evaluator


def _start_worker(threads: int, opened_by: tuple, options: tuple) -> None:
    global _worker
    from wsn.run.run import Run

    torch.set_num_threads(threads)
    _worker = Evaluator(Run(*opened_by), *options)


def _work(texts: list[str]) -> list[Row]:
    return _worker.rows([_worker.net.space.find(text) for text in texts])
