"""One sampler for the first part of training, another for the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wsn.errors import WsnError
from wsn.samplers.base import Draw, Sampler, SubnetScore
from wsn.schedule import Phase
from wsn.space import SearchSpace
from wsn.supernet import Supernet


class PhasedSampler(Sampler):
    """Draw from ``first`` until a share of the epochs is done, then from ``second``.

    Both hear all feedback from the start, so that the second one knows what it needs when its turn comes.

    Args:
        space: the search space.
        seed: of the run.
        first: makes the first sampler from (space, seed, roles, shared).
        second: makes the second.
        switch_at: share of the epochs, in (0, 1).
        roles: of both.
        shared: of both.
    """

    def __init__(
        self,
        space: SearchSpace,
        first: Callable[..., Sampler],
        second: Callable[..., Sampler],
        seed: int = 0,
        switch_at: float = 0.5,
        roles: Sequence[str] = ("random",),
        shared: Sequence[str] = ("resolution",),
    ):
        super().__init__(space, seed, roles, shared)
        if not 0 < switch_at < 1:
            raise WsnError(f"sampler.switch_at must be between 0 and 1. Received {switch_at}")
        self.switch_at = switch_at
        self.parts = [make(space=space, seed=seed, roles=roles, shared=shared) for make in (first, second)]
        self.current = 0

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the draws of the sampler whose turn it is."""
        return self.parts[self.current].sample(step, micro_batch, score)

    def enter(self, phase: Phase) -> None:
        """Let both enter the phase."""
        super().enter(phase)
        for part in self.parts:
            part.enter(phase)

    def attach(self, net: Supernet) -> None:
        """Let both take the supernet."""
        for part in self.parts:
            part.attach(net)

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Switch when it is time."""
        self.current = int(epoch >= self.switch_at * epochs)
        for part in self.parts:
            part.on_epoch(epoch, epochs)

    def on_gradients(self, draws: Sequence[Draw]) -> None:
        """Pass gradients on."""
        for part in self.parts:
            part.on_gradients(draws)

    def on_evaluated(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Pass evaluations on."""
        for part in self.parts:
            part.on_evaluated(rows)

    def state_dict(self) -> dict[str, Any]:
        """Return whose turn it is, and the state of both."""
        return {"current": self.current, "parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.current = state["current"]
        for part, part_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(part_state)
