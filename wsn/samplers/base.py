"""The base class of samplers: optimizer step → the subnets to train, each with its role."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from wsn.errors import WsnError, listed
from wsn.schedule import Phase
from wsn.space import SearchSpace, Subnet
from wsn.supernet import Supernet

SubnetScore = Callable[[Subnet], float]
"""Label loss of a subnet on the batch of this step, without gradient and dropout."""


class Draw(NamedTuple):
    """One subnet of a step and its role there: ``max``, ``min``, ``random`` ..."""

    subnet: Subnet
    role: str


class Sampler:
    """Draws the subnets of each optimizer step.

    ``roles`` lists the step's subnets in order: ``max`` is the largest of the space, ``min`` the smallest, and every
    other role is drawn. The sandwich rule is ``[max, random, random, min]``. Each phase of training says its own, see
    :meth:`enter`. A subclass writes :meth:`draw`.

    A draw depends only on (seed, step, slot) and on what the feedback hooks told, which is in the checkpoint: equal
    on all ranks, exact after a resume, and the global random state (augmentation) is left alone.

    Args:
        space: the search space; :meth:`enter` restricts it for a phase.
        seed: of the run.
        roles: of the subnets of a step, in order, until a phase is entered.
        shared: dimensions that all subnets of one step share (OFA trains each batch at one resolution).

    Raises:
        WsnError: no role, or a shared dimension that is not of the whole network.
    """

    per_micro_batch = False
    """Whether each of the batches that are accumulated for a step has subnets of its own."""
    one_role = False
    """Whether all subnets of a step have the same role: which they are, the sampler says."""

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        roles: Sequence[str] = ("random",),
        shared: Sequence[str] = ("resolution",),
    ):
        self.full_space = self.space = space
        self.seed = seed
        self.roles = self._checked(roles)
        network = [d.name for d in space.dimensions.values() if d.scope == "network"]
        bad = [name for name in shared if name in space.dimensions and name not in network]
        if bad:
            raise WsnError(f"sampler.shared: {listed(bad)} is not of the whole network; allowed: {listed(network)}")
        self.shared = tuple(name for name in shared if name in space.dimensions)

    def sample(self, step: int, micro_batch: int = 0, score: SubnetScore | None = None) -> list[Draw]:
        """Return the subnets of optimizer step ``step`` in the order in which they are trained.

        Args:
            step: optimizer step.
            micro_batch: which of the batches that are accumulated for the step.
            score: tells the loss of a candidate on the batch; attentive sampling asks it.
        """
        space = self.space_of(step)
        first = micro_batch * len(self.roles) if self.per_micro_batch else 0
        fixed = {"max": space.max, "min": space.min}
        draws = []
        for slot, role in enumerate(self.roles, start=first):
            subnet = fixed[role]() if role in fixed else self.draw(self.rng(step, slot), space, score)
            draws.append(Draw(subnet, role))
        return draws

    def draw(self, rng: Random, space: SearchSpace, score: SubnetScore | None) -> Subnet:
        """Return one drawn subnet of ``space``: this step's space, shared dimensions fixed."""
        raise NotImplementedError

    def enter(self, phase: Phase) -> None:
        """Draw as ``phase`` says from now on: from its choices, with its roles."""
        self.space = self.full_space.restrict(**phase.choices)
        self.roles = self._checked(phase.roles)

    def _checked(self, roles: Sequence[str]) -> tuple[str, ...]:
        if isinstance(roles, str) or not roles or not all(isinstance(role, str) for role in roles):
            raise WsnError(f"roles must be a list of at least one role, such as [max,random,min]. Received {roles!r}")
        if self.one_role and len(set(roles)) != 1:
            raise WsnError(
                f"{type(self).__name__} gives all subnets of a step one role. Received roles={list(roles)}; set "
                f"method.phases.NAME.roles=[{roles[0]}], or take another sampler"
            )
        return tuple(roles)

    def rng(self, step: int, slot: int) -> Random:
        """Return the private generator of one slot of one step."""
        key = f"{self.seed}/{step}/{slot}".encode()
        return Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))

    def space_of(self, step: int) -> SearchSpace:
        """Return the space of one step: the shared dimensions are drawn once and fixed."""
        if not self.shared:
            return self.space
        rng = self.rng(step, -1)
        drawn = {name: [rng.choice(self.space.dimensions[name].choices[0])] for name in self.shared}
        return self.space.restrict(**drawn)

    # -- feedback: the only ways into a sampler's state --------------------------------------------------

    def attach(self, net: Supernet) -> None:
        """Take the supernet, for samplers that look at costs or gradients. Called once, before training."""

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Called at the start of each epoch, of ``epochs`` in all; again if a run is resumed in the middle of it."""

    def on_gradients(self, draws: Sequence[Draw]) -> None:
        """Called after clipping and all-reduce, before ``optimizer.step()``. Gradients are equal on all ranks."""

    def on_evaluated(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Called after an evaluation on held-out data, with the rows of subnets.csv. They are equal on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the hooks have learned, for the checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state back."""
