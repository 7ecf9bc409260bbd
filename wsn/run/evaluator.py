"""Evaluating subnets of a run by the hundred: in this process, or in several."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from wsn.config import build_data, plain
from wsn.errors import WsnError, listed
from wsn.evaluation import Candidate, evaluate, row
from wsn.prefix import prefix_order
from wsn.run.folder import read_config
from wsn.run.load import load_supernet
from wsn.search.problem import Row
from wsn.subnet import Subnet

KEPT_BYTES = 2**31  # of a split's inputs in memory; ImageNet's validation set is loaded anew for each group


class Evaluator:
    """Evaluates subnets of a run on one of its splits, in groups that share what they have in common.

    Args:
        folder: the run folder.
        split: ``val`` or ``test``.
        calibrate: recompute BN statistics of each subnet.
        group: subnets evaluated together.
        data: single values of the run's data config.

    Raises:
        WsnError: not a run folder, a corrupt checkpoint, an unknown split, or an option that the data does not have.
    """

    def __init__(
        self, folder: str | Path, split: str = "val", calibrate: bool = True, group: int = 16, data: Any = None
    ):
        if split not in ("val", "test"):
            raise WsnError(f"split must be val or test. Received {split!r}")
        saved = read_config(folder)
        for key, value in (data or {}).items():
            if key not in saved.data:
                raise WsnError(f"data.{key} is not an option of this run's data; it has {listed(saved.data)}")
            saved.data[key] = value
        self.net = load_supernet(folder, saved)
        self.data = build_data(saved.data)
        self.split = split
        self.group = max(1, group)
        self.channels_last = saved.channels_last
        self.metric_names = self.data.metrics().names
        self._calibrate = calibrate
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
        found = self.metrics(subnets)
        return [row(self.net, Candidate("search", s), m, split=self.split) for s, m in zip(subnets, found)]

    def metrics(self, subnets: Sequence[Subnet], on_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        """Evaluate subnets together; ``on_batch`` is called after each (subnet, batch)."""
        calibration = self.calibration() if self._calibrate else None
        return evaluate(self.net, subnets, self.batches(), calibration, self.data.metrics, self.channels_last, on_batch)

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
        cfg: of the search; ``workers`` processes share the cores.
    """

    def __init__(self, evaluator: Evaluator, cfg: DictConfig):
        threads = max(1, (os.cpu_count() or 1) // cfg.workers)
        self.evaluator = evaluator
        options = (str(cfg.run), cfg.split, cfg.calibrate, cfg.group, plain(cfg.data))
        self._pool = ProcessPoolExecutor(cfg.workers, get_context("spawn"), _start_worker, (threads, options))

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


def _start_worker(threads: int, options: tuple) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = Evaluator(*options)


def _work(texts: list[str]) -> list[Row]:
    return _worker.rows([_worker.net.space.find(text) for text in texts])
