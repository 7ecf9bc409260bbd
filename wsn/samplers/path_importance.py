"""Path importance: choices with larger gradients are sampled more often."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.space import Choice, SearchSpace, Subnet
from wsn.supernet import Supernet


class PathImportanceSampler(Sampler):
    r"""Draw each choice with a probability that follows the gradient norms of the blocks that had it.

    As in the released code, a choice has one probability for all positions. Its score is the mean gradient norm of
    the blocks with that choice, halved into at each step and reset at each epoch; then
    :math:`P = \tau s / \sum s + (1 - \tau) / K` with :math:`\tau` growing from 0 by epoch / epochs.

    Args:
        *args: as for :class:`Sampler`.
        tau: the value that :math:`\tau` grows to; 0 is uniform sampling.
        **kwargs: as for :class:`Sampler`.

    Source: PA&DA, Lu et al. 2023, arXiv:2302.14772, §3.2; released code. Its other half, the importance of images, is
    :class:`wsn.callbacks.data_importance.DataImportance`. Differs: the depth of a stage is scored by the mean over the
    blocks that it keeps, a dimension of the whole network by the mean over all; with several subnets in a step the
    norm is of their sum, and counts for each.
    """

    def __init__(self, *args: Any, tau: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not 0 <= tau <= 1:
            raise WsnError(f"sampler.tau must be from 0 to 1. Received {tau}")
        if not self.full_space.stages:
            raise WsnError(
                "sampler=path_importance scores the choices of a network's blocks, and here a choice is the whole "
                "network's. Set sampler=uniform, or take another backbone"
            )
        self.tau = tau
        self.net: Supernet | None = None
        self.epoch = -1
        self.scores: dict[str, dict[Choice, float]] = {}
        self.probabilities: dict[str, dict[Choice, float]] = {}

    def attach(self, net: Supernet) -> None:
        """Take the supernet whose gradients count."""
        self.net = net

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return a draw by importance; a uniform one as long as nothing is known."""
        if not self.probabilities:
            return space.sample(rng)
        values = {}
        for n, d in space.dimensions.items():
            if n not in space.followers:
                known = self.probabilities.get(n, {})
                values[n] = [rng.choices(c, [known.get(v, 1.0) for v in c])[0] for c in d.choices]
        return space.subnet(**values)

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Turn the scores of the epoch before into probabilities."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        tau = self.tau * epoch / epochs
        self.probabilities = {}
        for n, d in self.full_space.dimensions.items():
            scores = self.scores.get(n, {})
            total = sum(scores.values())
            if tau > 0 and total > 0:
                choices = sorted({c for position in d.choices for c in position})
                self.probabilities[n] = {
                    c: tau * scores.get(c, 0.0) / total + (1 - tau) / len(choices) for c in choices
                }
        self.scores = {}

    @torch.no_grad()
    def on_gradients(self, draws: Sequence[Draw]) -> None:
        """Score the choices of the drawn subnets by the gradients of their blocks."""
        assert self.net is not None
        for subnet, _ in draws:
            paths = list(self.net.blocks(subnet))
            norms = torch.stack([self._norm(path) for path in paths]).tolist()
            for n, by_choice in self._by_choice(subnet, norms).items():
                known = self.scores.setdefault(n, {})
                for choice, values in by_choice.items():
                    known[choice] = (known.get(choice, 0.0) + sum(values) / len(values)) / 2

    def _norm(self, path: str) -> torch.Tensor:
        assert self.net is not None
        grads = [p.grad for p in self.net.model.get_submodule(path).parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads)

    def _by_choice(self, subnet: Subnet, norms: list[float]) -> dict[str, dict[Choice, list[float]]]:
        """Return, by dimension and choice, the norms of the blocks with that choice."""
        found: dict[str, dict[Choice, list[float]]] = {n: {} for n in self.full_space.dimensions}
        for (stage, _, at), norm in zip(self.full_space.kept(subnet), norms, strict=True):
            for n, d in self.full_space.dimensions.items():
                choice = subnet[n] if d.scope == "network" else subnet[n][d.position(stage, at)]
                found[n].setdefault(choice, []).append(norm)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return scores, probabilities and the epoch that they are for."""
        return {"epoch": self.epoch, "scores": self.scores, "probabilities": self.probabilities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.epoch, self.scores, self.probabilities = state["epoch"], state["scores"], state["probabilities"]
