"""What numbers of a configuration may be, by key: refused by name before anything heavy is imported."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from wsn.errors import WsnError


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Args:
        low: smallest.
        high: largest.
        whole: integers only.
        open_low: without the smallest itself.
        open_high: without the largest itself.
        null: or null.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    open_low: bool = False
    open_high: bool = False
    null: bool = False

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.null
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and not isinstance(value, int):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = "" if self.low == -math.inf else f" {'above' if self.open_low else 'of at least'} {self.low:g}"
        high = "" if self.high == math.inf else f" {'below' if self.open_high else 'of at most'} {self.high:g}"
        return kind + " and".join(filter(None, (low, high))) + (", or null" if self.null else "")

    @property
    def example(self) -> float:
        """A number of the range, for an error message."""
        for value in (1, 0, 0.5, self.low, self.high):
            if value in self:
                return value
        return self.low


def _whole(low: int = 0, high: float = math.inf, null: bool = False) -> Range:
    return Range(low, high, whole=True, null=null)


POSITIVE = Range(0, open_low=True)
POSITIVE_OR_NULL = Range(0, open_low=True, null=True)
NOT_NEGATIVE = Range(0)
SHARE = Range(0, 1)
SHARE_BELOW_ONE = Range(0, 1, open_high=True)
SHARE_ABOVE_ZERO = Range(0, 1, open_low=True)
SMALLEST_IMAGE = 8
"""Pixels of the smallest image."""

RANGES = {
    "seed": _whole(0, 2**32 - 1),
    "budget_gmacs": POSITIVE_OR_NULL,
    "recipe_version": _whole(1),
    "data.batch_size": _whole(1),
    "data.eval_batch_size": _whole(1),
    "data.images_per_epoch": _whole(1, null=True),
    "data.val_size": _whole(1),
    "data.num_workers": _whole(),
    "data.seed": _whole(),
    "data.num_classes": _whole(1),
    "data.in_chans": _whole(1),
    "data.image_size": _whole(SMALLEST_IMAGE),
    "data.calibration_images": _whole(1),
    "data.mixup": NOT_NEGATIVE,
    "data.cutmix": NOT_NEGATIVE,
    "data.random_erasing": SHARE,
    "data.crop_padding": _whole(),
    "data.crop_scale_min": SHARE_ABOVE_ZERO,
    "data.crop_pct": SHARE_ABOVE_ZERO,
    "data.color_jitter": Range(0, null=True),
    "data.sequence_length": _whole(1),
    "data.vocab_size": _whole(1, null=True),
    "data.test_share": Range(0, 1, open_low=True, open_high=True),
    "backbone.resolution": _whole(SMALLEST_IMAGE, null=True),
    "backbone.width_mult": POSITIVE,
    "backbone.drop_rate": SHARE_BELOW_ONE,
    "backbone.drop_path_rate": SHARE_BELOW_ONE,
    "backbone.dropout": SHARE_BELOW_ONE,
    "optim.lr": POSITIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.clip_norm": POSITIVE_OR_NULL,
    "optim.clip_value": POSITIVE_OR_NULL,
    "optim.accumulate": _whole(1),
    "scheduler.warmup_from": SHARE,
    "method.label_smoothing": SHARE_BELOW_ONE,
    "method.phases.*.epochs": _whole(1),
    "method.phases.*.warmup_epochs": _whole(),
    "method.phases.*.lr_scale": POSITIVE,
    "method.losses.*.labels": NOT_NEGATIVE,
    "method.losses.*.distill": NOT_NEGATIVE,
    "method.losses.*.weight": NOT_NEGATIVE,
    "evaluation.panel": _whole(),
    "evaluation.every_n_epochs": _whole(),
    "evaluation.last_epochs": _whole(),
    "evaluation.seed": _whole(),
    "callbacks.checkpoint.every_n_steps": _whole(1),
    "trainer.max_epochs": _whole(1, null=True),
    "trainer.log_every_n_steps": _whole(1),
    "trainer.num_nodes": _whole(1),
    "trainer.limit_train_batches": Range(0, open_low=True, null=True),
}
"""Key → what it may be, where a configuration has it; ``*`` is any name. Of a list, each entry (:data:`LISTS`)."""
VERBS = {
    "panel": _whole(),
    "evaluations": _whole(1),
    "workers": _whole(),
    "group": _whole(1),
    "seed": _whole(0, 2**32 - 1),
    "latency.threads": _whole(1),
    "latency.batch": _whole(1),
    "search.population": _whole(2),
    "search.parents": SHARE_ABOVE_ZERO,
    "search.mutation": SHARE,
    "search.mutate_prob": SHARE,
    "search.children": _whole(1),
    "search.coarse": _whole(1),
    "search.start": _whole(1),
    "search.picks": _whole(1),
    "search.optimism": NOT_NEGATIVE,
    "search.generations": _whole(1),
    "search.batch": _whole(1),
}
"""As :data:`RANGES`, of the commands on a run folder."""


FLAGS = (
    "channels_last", "data.flip", "data.download", "data.pack", "evaluation.calibrate", "optim.optimizer.nesterov",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.use_distributed_sampler",
    "logger.wandb.offline", "logger.wandb.log_supernet", "method.compensate", "method.teacher_at_start",
    "backbone.tie_embeddings", "callbacks.terminal_front.always",
)  # fmt: skip
"""Keys that are true or false, where a configuration has them."""


LISTS = ("backbone.",)
"""Beginnings of keys whose value may be a list of such numbers."""


def check_ranges(cfg: DictConfig, ranges: Mapping[str, Range] = RANGES) -> None:
    """Find numbers that are none, or outside what they may be.

    Raises:
        WsnError: the key, what was received, what is allowed, and an override that would do.
    """
    for pattern, allowed in ranges.items():
        for key in _keys(cfg, pattern):
            value = OmegaConf.select(cfg, key)
            listed = isinstance(value, ListConfig) and key.startswith(LISTS)
            entries = list(_flat(value)) if listed else [value]
            bad = [entry for entry in entries if entry not in allowed]
            if bad:
                raise WsnError(f"{key} must be {allowed}. Received {bad[0]!r}; set e.g. {key}={allowed.example:g}")


def check_flags(cfg: DictConfig) -> None:
    """Find flags that are neither true nor false.

    Raises:
        WsnError: the key, and what was received.
    """
    for pattern in FLAGS:
        for key in _keys(cfg, pattern):
            value = OmegaConf.select(cfg, key)
            if not isinstance(value, bool):
                raise WsnError(f"{key} must be true or false. Received {value!r}; set e.g. {key}=true")


def _keys(cfg: DictConfig, pattern: str) -> Iterator[str]:
    """Yield the keys of a configuration that a pattern means."""
    head, star, tail = pattern.partition(".*.")
    parent, _, name = head.rpartition(".") if not star else (head, "", "")
    node: Any = OmegaConf.select(cfg, parent) if parent else cfg
    if not isinstance(node, DictConfig):
        return
    if not star:
        if name in node and not OmegaConf.is_missing(node, name):
            yield pattern
        return
    for child, values in node.items():
        if isinstance(values, DictConfig) and tail in values:
            yield f"{head}.{child!s}.{tail}"


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, ListConfig):
            yield from _flat(value)
        else:
            yield value
