"""Importance by what flows into a layer, streamed: memory is a few numbers for each channel, however many batches.

Batches are inputs, or pairs of inputs and labels as a data module gives them: positions of padding
(:data:`wsn.losses.IGNORED`) then do not count.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsn.losses import IGNORED
from wsn.supernet.order import ChannelScore, readers, weight_of
from wsn.supernet.precision import full_precision


@dataclass
class Moments:
    """Count, mean (C,) and sum of squared deviations (C,) of the inputs of a layer, over all positions."""

    count: int
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Return the moments of positions (N, C)."""
        mean = x.mean(0)
        return cls(len(x), mean, (x - mean).square().sum(0))

    def add(self, other: "Moments") -> "Moments":
        """Return the moments of both together (Chan et al. 1979), exact where the mean is far from zero."""
        count = self.count + other.count
        step = other.mean - self.mean
        spread = step.square() * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), self.deviation + other.deviation + spread)

    @property
    def variance(self) -> Tensor:
        """Unbiased variance (C,)."""
        return self.deviation / max(self.count - 1, 1)

    @property
    def squares(self) -> Tensor:
        """Sum of squares (C,)."""
        return self.deviation + self.mean.square() * self.count


def wanda(model: nn.Module, batches: Iterable[Any]) -> ChannelScore:
    """Score a channel by Σ |weight| · ‖input‖₂ over the weights that read it.

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches.

    Source: Wanda, Sun et al. 2024, arXiv:2306.11695, equation 1, summed over the outputs for whole channels.
    """
    moments = input_moments(model, batches)
    return ChannelScore(lambda path: weight_of(model.get_submodule(path)).abs().sum(0) * moments[path].squares.sqrt())


def flap(model: nn.Module, batches: Iterable[Any]) -> ChannelScore:
    """Score a channel by the variance of its input · the squared norm of the weights that read it (WIFV).

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches.

    Source: FLAP, An et al. 2024, arXiv:2312.11983, equation 5; heads by the squares of their channels' scores, as the
    released code (``prune_flap``). Its bias compensation is :class:`wsn.providers.compensation.Compensation`.
    """
    return flap_of(model, input_moments(model, batches))


def flap_of(model: nn.Module, moments: dict[str, Moments]) -> ChannelScore:
    """Return FLAP's score from moments that are known already."""

    def score(path: str) -> Tensor:
        return moments[path].variance * weight_of(model.get_submodule(path)).square().sum(0)

    return ChannelScore(score, norm=2)


def minitron(model: nn.Module, batches: Iterable[Any]) -> ChannelScore:
    """Score a channel by its activations alone: L2 norm over sequences of the mean magnitude over positions.

    FFN neurons and heads are scored by the input of the layer that reads them, heads by the L2 norm over their
    channels, hidden channels by the sum over all norms of their outputs. So layers that read the same tensor
    (query, key and value) count once.

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches.

    Source: Minitron, Muralidharan et al. 2024, arXiv:2407.14679, §2.2; released code ``mcore_minitron.py`` of NVIDIA
    Model-Optimizer. Differs: whole groups of query heads with their key and value head are ranked (their L2 norm), not
    query heads within a group.
    """
    squares: dict[str, Tensor] = {}
    seen = _Readers()

    def see(path: str, x: Tensor, keep: Tensor | None) -> None:
        leaf = model.get_submodule(path)
        if seen.again(path, leaf, x):
            return
        magnitudes = _positions(leaf, x).abs()
        if keep is None:
            means = magnitudes.mean(1)
        else:
            means = (magnitudes * keep[..., None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1)
        squares[path] = squares.get(path, 0) + means.square().sum(0)

    observe_inputs(model, batches, see)
    return ChannelScore(seen.once(lambda path: squares[path].sqrt()), norm=2)


def uniql(model: nn.Module, batches: Iterable[Any], ridge: float = 1.0) -> ChannelScore:
    """Score a channel by its ridge leverage: the diagonal of C (C + λI)⁻¹, with C = Σ x xᵀ of the inputs of its reader.

    A channel that others can stand for has a small one. Layers that read the same tensor (query, key and value) count
    once. Memory: the square of the channels for each layer.

    Args:
        model: the largest network, in evaluation mode.
        batches: a few batches.
        ridge: λ; C is the mean over sequences.

    Source: UniQL, Chiang et al. 2025, arXiv:2512.03383; released code ``compress_helpers.py``, of FFN neurons.
    Differs: whole groups of query heads with their key and value head are ranked, by the sum of their channels'
    leverages. The released code narrows all heads instead: it rotates value and output by an SVD and prunes pairs of
    query and key channels, and the networks of transformers have no heads whose values are narrower than their keys.
    """
    sums: dict[str, Tensor] = {}
    sequences: dict[str, int] = {}
    seen = _Readers()

    def see(path: str, x: Tensor, keep: Tensor | None) -> None:
        leaf = model.get_submodule(path)
        if seen.again(path, leaf, x):
            return
        x = _positions(leaf, x)
        rows = x.flatten(0, 1) if keep is None else x[keep]
        sums[path] = sums.get(path, 0) + rows.T @ rows
        sequences[path] = sequences.get(path, 0) + len(x)

    def leverage(path: str) -> Tensor:
        damped = (sums[path] / sequences[path]).double()
        damped.diagonal().add_(ridge)
        return (1 - ridge * torch.linalg.inv(damped).diagonal()).clamp(min=0).float()  # C (C + λI)⁻¹ = I − λ (C + λI)⁻¹

    observe_inputs(model, batches, see)
    return ChannelScore(seen.once(leverage))


class _Readers:
    """Tells layers that read the same tensor as the one before, so that it counts once."""

    def __init__(self) -> None:
        self._zeros: dict[str, Tensor] = {}
        self._last: Tensor | None = None

    def again(self, path: str, leaf: nn.Module, x: Tensor) -> bool:
        """Tell whether the layer before read the same input."""
        if x is self._last:
            self._zeros[path] = torch.zeros_like(_positions(leaf, x)[0, 0])
            return True
        self._last = x
        return False

    def once(self, score: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
        """Return scores by path (C,) that are zero where the input has counted before."""
        return lambda path: self._zeros[path] if path in self._zeros else score(path)


def input_moments(model: nn.Module, batches: Iterable[Any]) -> dict[str, Moments]:
    """Return the moments of the inputs of each layer that mixes channels."""
    moments: dict[str, Moments] = {}

    def see(path: str, x: Tensor, keep: Tensor | None) -> None:
        x = _positions(model.get_submodule(path), x)
        found = Moments.of(x.flatten(0, 1) if keep is None else x[keep])
        moments[path] = moments[path].add(found) if path in moments else found

    observe_inputs(model, batches, see)
    return moments


@torch.no_grad()
def observe_inputs(model: nn.Module, batches: Iterable[Any], see: Callable[[str, Tensor, Tensor | None], None]) -> None:
    """Run batches and show the input of each layer that mixes channels, as it comes.

    Args:
        model: the network.
        batches: inputs, or pairs of inputs and labels.
        see: called with the path of the layer, its input, and which positions (B, T) count (None: all).
    """
    keep: Tensor | None = None

    def hook(path: str) -> Callable[[nn.Module, Any], None]:
        return lambda layer, args: see(path, args[0], keep)

    handles = [leaf.register_forward_pre_hook(hook(path)) for path, leaf in readers(model).items()]
    try:
        for batch in batches:
            inputs, keep = padding_of(batch)
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()


def padding_of(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Return the inputs of a batch, and which positions (B, T) are not padding; None: all."""
    inputs, labels = batch if isinstance(batch, list | tuple) else (batch, None)
    tokens = labels is not None and labels.ndim == 2 and not labels.is_floating_point()
    return inputs, labels != IGNORED if tokens and (labels == IGNORED).any() else None


def _positions(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the input of a layer as (samples, positions, channels) in full precision."""
    x = full_precision(x.detach())
    if isinstance(layer, nn.Conv2d):
        return x.flatten(2).transpose(1, 2)
    return x.flatten(1, -2) if x.ndim > 2 else x.unsqueeze(1)
