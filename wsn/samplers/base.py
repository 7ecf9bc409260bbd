"""What a sampler is: optimizer step → the subnets to train, each with its role."""

import hashlib
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from wsn.errors import WsnError, listed
from wsn.schedule import Phase
from wsn.space import SearchSpace, Subnet


class Draw(NamedTuple):
    """One subnet of a step and its role there: ``max``, ``min``, ``random`` ..."""

    subnet: Subnet
    role: str


class Sampler:
    """Draws the subnets of each optimizer step.

    A draw depends only on (seed, step, slot): equal on all ranks, exact after a resume, and the global random
    state (augmentation) is left alone.

    Args:
        space: the search space; :meth:`enter` restricts it for a phase.
        seed: of the run.
        num_subnets: subnets per step.
        role: role of the drawn subnets.
        shared: dimensions that all subnets of one step share (OFA trains each batch at one resolution).

    Raises:
        WsnError: fewer than one subnet per step, or a shared dimension that is not of the whole network.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        num_subnets: int = 1,
        role: str = "random",
        shared: Sequence[str] = ("resolution",),
    ):
        if num_subnets < 1:
            raise WsnError(f"sampler.num_subnets must be at least 1. Received {num_subnets}")
        network = [d.name for d in space.dimensions.values() if d.scope == "network"]
        bad = [name for name in shared if name in space.dimensions and name not in network]
        if bad:
            raise WsnError(f"sampler.shared: {listed(bad)} is not of the whole network; allowed: {listed(network)}")
        self.full_space = self.space = space
        self.seed = seed
        self.num_subnets = self._default_num_subnets = num_subnets
        self.role = self._default_role = role
        self.shared = tuple(name for name in shared if name in space.dimensions)

    def sample(self, step: int) -> list[Draw]:
        """Return the subnets of optimizer step ``step`` in the order in which they are trained."""
        raise NotImplementedError

    def enter(self, phase: Phase) -> None:
        """Draw as ``phase`` says from now on: from its choices, that many subnets, with its role."""
        self.space = self.full_space.restrict(**phase.choices)
        self.num_subnets = phase.num_subnets or self._default_num_subnets
        self.role = phase.role or self._default_role

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
