"""Which layers and channels of a pretrained language model its shapes keep: found on a little text, kept in files."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from wsn.data.base import DataModule
from wsn.errors import WsnError, listed
from wsn.evaluation.evaluate import evaluate
from wsn.evaluation.quality import DIRECTIONS
from wsn.files import replacing, write_atomically
from wsn.importance.activations import flap_of, input_moments
from wsn.importance.calibration import fingerprint, placed
from wsn.importance.depth import Cell, Layers, Row, depth_rows, kept_layers
from wsn.importance.layers import block_influence, loss_drop, nested_layers, without
from wsn.importance.named import named_score
from wsn.schedule import IMPORTANCE
from wsn.supernet import Supernet

DEPTH_BY = ("dynamic_programming", "block_influence", "loss_drop")
DEPTH, WIDTH = "depth.json", "width.pt"
Batch = tuple[Tensor, Tensor]


class OnText:
    """Measures subnets by a metric of the data's.

    Args:
        data: whose metrics.
        metric: ``perplexity``, ``loss``, ``bits_per_byte`` or ``acc`` (tokens right).
        batches: what they see.
    """

    def __init__(self, data: DataModule, metric: str, batches: Sequence[Batch]):
        names = data.metrics().names
        if metric not in names:
            raise WsnError(f"method.selection.metric must be one of {listed(names)}. Received {metric!r}")
        self.data, self.metric, self.batches = data, metric, batches
        self.larger_is_better = DIRECTIONS[metric] == "max"

    def __call__(self, net: Supernet, subnets: Sequence[Any]) -> list[float]:
        """Return the metric of each subnet; what they have in common is computed once."""
        return [found[self.metric] for found in evaluate(net, subnets, self.batches, None, self.data.metrics)]


@dataclass(frozen=True)
class Selected:
    """The result of a selection.

    Args:
        keep: depth → indices of the kept layers, the deepest first.
        order: path → one permutation for each coupling, as :meth:`Supernet.permute_channels` takes them.
        means: path of a layer → mean of each of its input channels (C,), before they are permuted.
    """

    keep: dict[int, list[int]]
    order: dict[str, list[Tensor]]
    means: dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """How layers and channels are selected.

    Args:
        depth: how layers are chosen: ``dynamic_programming`` (AmoebaLLM), ``block_influence`` or ``loss_drop`` (both
            remove one after another by importance).
        width: how channels are sorted, one of :data:`wsn.schedule.IMPORTANCE`; ``taylor`` is not.
        min_depth: the smallest number of layers; None: five eighths of them, as AmoebaLLM's 20 of 32.
        keep_last: number of last layers that are always kept.
        metric: by which the dynamic programming compares networks.
        batches: held-out batches that all of it looks at.
    """

    depth: str = "dynamic_programming"
    width: str = "flap"
    min_depth: int | None = None
    keep_last: int = 1
    metric: str = "perplexity"
    batches: int = 8

    def __post_init__(self) -> None:
        if self.depth not in DEPTH_BY:
            raise WsnError(f"method.selection.depth must be one of {listed(DEPTH_BY)}. Received {self.depth!r}")
        allowed = [name for name in IMPORTANCE if name != "taylor"]
        if self.width not in allowed:
            raise WsnError(f"method.selection.width must be one of {listed(allowed)}. Received {self.width!r}")

    def smallest(self, count: int) -> int:
        """Return the smallest depth of a network of ``count`` layers.

        Raises:
            WsnError: fewer layers are wanted than are always kept, or more than there are.
        """
        depth = round(0.625 * count) if self.min_depth is None else self.min_depth
        least = max(self.keep_last, 1)
        if not least <= depth <= count:
            raise WsnError(f"method.selection.min_depth must be from {least} to {count}. Received {depth}")
        return depth


class Selection:
    """Selects layers and channels of a language model, once.

    Results are kept below ``cache``, layers and channels each in a folder named by the weights, the text and their
    settings: the dynamic programming after each of its rows, so that the same command goes on after a kill, and other
    runs of the same model find them. When all is there it is copied to ``folder``, which is then all that is read.

    Args:
        folder: of the run.
        cache: of all runs.
        measure: in place of the data's metric: called with (supernet, subnets) it returns a number for each, and
            ``larger_is_better`` says which are good, see :class:`wsn.run.lm_eval.TaskAccuracy`.
        **settings: as for :class:`Settings`.
    """

    def __init__(
        self,
        folder: str | Path,
        cache: str | Path,
        measure: Callable[[Supernet, Sequence[Any]], list[float]] | None = None,
        **settings: Any,
    ):
        self.folder, self.cache = Path(folder), Path(cache)
        self.measure = measure
        self.settings = Settings(**settings)

    def __call__(self, net: Supernet, data: DataModule) -> Selected:
        """Return what is selected; the network is as it was.

        Args:
            net: a language model of which any set of layers is a subnet.
            data: whose held-out text is looked at.
        """
        if not (self.folder / WIDTH).exists():
            self._select(net, data)
        stored = torch.load(self.folder / WIDTH, weights_only=True)
        return Selected(self.kept() or {}, **stored)

    def kept(self) -> dict[int, list[int]] | None:
        """Return depth → kept layers, where they are in the run's folder already."""
        found = _read(self.folder / DEPTH).get("keep")
        return found and {int(n): layers for n, layers in found.items()}

    def _select(self, net: Supernet, data: DataModule) -> None:
        with placed(net) as device:
            batches = list(data.held_out(self.settings.batches, device))
            depth, width = self._places(net, batches)
            rank_zero_info(f"Selection of layers: {depth.parent}; of channels: {width.parent}")
            if "keep" not in _read(depth):
                self._layers(net, data, batches, depth)
            if not width.exists():
                with replacing(width) as path:
                    torch.save(self._channels(net, batches), path)
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in (depth, width):  # the width last: it says that all is there
            with replacing(self.folder / place.name) as path:
                shutil.copy(place, path)

    def _places(self, net: Supernet, batches: Sequence[Batch]) -> tuple[Path, Path]:
        """Return the files of layers and channels in the cache."""
        of_layers = repr((self._of_layers(), self.measure))
        depth = self.cache / fingerprint(net, batches, of_layers) / DEPTH
        width = self.cache / fingerprint(net, batches, self.settings.width) / WIDTH
        for path in (depth, width):
            path.parent.mkdir(parents=True, exist_ok=True)
        return depth, width

    def _of_layers(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.settings).items() if name != "width"}

    def _layers(self, net: Supernet, data: DataModule, batches: Sequence[Batch], path: Path) -> None:
        count = len(net.space.dimensions["layers"])
        smallest, keep_last = self.settings.smallest(count), self.settings.keep_last
        about: dict[str, Any] = {"settings": self._of_layers()}
        if self.settings.depth == "dynamic_programming":
            rows = self._program(net, data, batches, path, about)
            about.update(rows=_plain(rows), keep=kept_layers(count, rows[-1]))
        else:
            influence = self.settings.depth == "block_influence"
            scores = block_influence(net, batches) if influence else loss_drop(net, batches, data.metrics)
            about.update(scores=scores.tolist(), keep=nested_layers(scores, smallest, keep_last))
        write_atomically(path, json.dumps(about))

    def _program(
        self, net: Supernet, data: DataModule, batches: Sequence[Batch], path: Path, about: dict[str, Any]
    ) -> list[Row]:
        """Run the dynamic programming, from the rows that are in the file."""
        measure: Any = self.measure or OnText(data, self.settings.metric, batches)
        count = len(net.space.dimensions["layers"])

        def values(candidates: Sequence[Layers]) -> list[float]:
            return measure(net, [without(net, removed) for removed in candidates])

        def on_row(rows: list[Row]) -> None:
            write_atomically(path, json.dumps({**about, "rows": _plain(rows)}))
            rank_zero_info(f"  layers looked at: {len(rows) - 1} of {count - self.settings.keep_last}")

        known = [[cell and Cell(tuple(cell[0]), cell[1]) for cell in row] for row in _read(path).get("rows", [])]
        most, better = count - self.settings.smallest(count), measure.larger_is_better
        return depth_rows(count, most, values, better, self.settings.keep_last, known, on_row)

    def _channels(self, net: Supernet, batches: Sequence[Batch]) -> dict[str, Any]:
        """Return the order of channels, and the mean inputs of the layers that read them."""
        moments = input_moments(net.model, batches)
        flap = self.settings.width == "flap"
        score = flap_of(net.model, moments) if flap else named_score(self.settings.width, net, batches)
        order = net.channel_order(score)
        means = {path: found.mean.cpu() for path, found in moments.items()}
        return {"order": {path: [p.cpu() for p in found.values()] for path, found in order.items()}, "means": means}


def _plain(rows: Sequence[Row]) -> list[Any]:
    return [[cell and list(cell) for cell in row] for row in rows]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
