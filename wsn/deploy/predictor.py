"""Serving a whole front from one copy of the weights, and switching between its members while requests run."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsn.deploy.elastic import load_elastic
from wsn.deploy.speculative import Speculation, speculate
from wsn.errors import WsnError, listed
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of
from wsn.search.constraint import Constraint, within
from wsn.space import Subnet

SMOOTHING = 0.1  # of the measured load: weight of the last request


@dataclass(frozen=True)
class Member:
    """One subnet of a served front: what is known of it, and its view."""

    id: str
    subnet: Subnet
    row: Mapping[str, Any]
    view: nn.Module = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "row")[name]
        except KeyError:
            raise AttributeError(name) from None


class ElasticPredictor:
    """All subnets of a front in one copy of the weights; each with its own stored BN statistics.

    A member is a view that was made once, so switching is taking another reference: no copy, no state to reset, and
    requests on other threads go on with the member that they began with.

    Args:
        folder: what ``wsn export run=... subnet=front format=elastic`` wrote.
        budget: of the first member, see :meth:`pick`; None: the best one.
        device: where the weights are.
        adaptive: whether latencies in budgets are those under the load that is measured, not those of an idle machine.
        trust: modules that the exported config may name besides parts of wsn, see docs/security.md.

    Raises:
        WsnError: the folder holds no exported front or one that names what is not trusted, or no member keeps to the
            budget.
    """

    def __init__(
        self,
        folder: str | Path,
        budget: Any = None,
        device: str = "cpu",
        adaptive: bool = False,
        trust: Sequence[str] = (),
    ):
        self.net, found = load_elastic(folder, device, trust)
        self.quality = quality_of([row for row, _ in found])
        rows = Front((row for row, _ in found), self.quality.objectives).rows
        views = {row["id"]: view for row, view in found}
        self.device = device
        self.adaptive = adaptive
        self.members = [Member(row["id"], self.net.space.find(row["arch"]), row, views[row["id"]]) for row in rows]
        self._lock = threading.Lock()
        self._load = 1.0
        self._member = self.pick(budget)

    # -- choosing --------------------------------------------------------------------------------------

    @property
    def member(self) -> Member:
        """The member that serves requests without a wish of their own."""
        return self._member

    @property
    def load(self) -> float:
        """How many times longer requests take than on an idle machine, smoothed."""
        return self._load

    def pick(self, budget: Any = None, quality: float | None = None) -> Member:
        """Return the best member within a budget, or the cheapest that is good enough.

        Args:
            budget: milliseconds, or constraints such as ``latency_ms<=5`` or ``macs<=3e6``.
            quality: that is enough, e.g. 0.8 for an accuracy of 80 %; of language models, bits per byte.

        Raises:
            WsnError: no member keeps to the budget; the text says what the cheapest has.
        """
        if isinstance(budget, int | float):
            budget = f"latency_ms<={budget}"
        limits = Constraint.parse_all(budget)
        rows = [self._expected(m) for m in self.members]
        allowed = {row["id"] for row in within(rows, limits, f"budget={budget}")}
        members = [m for m in self.members if m.id in allowed]  # which ascend in cost
        if quality is not None:
            enough = [m for m in members if self.quality.sign * m.row[self.quality.key] >= self.quality.sign * quality]
            if enough:
                return enough[0]
        return members[-1]

    def choose(self, budget: Any = None, quality: float | None = None, member: str | None = None) -> Member:
        """Return the member for one request: by id, by budget and quality, or the current one."""
        if member is not None:
            return self.find(member)
        return self._member if budget is None and quality is None else self.pick(budget, quality)

    def switch(self, budget: Any = None, quality: float | None = None, member: str | None = None) -> Member:
        """Serve from now on with another member: by budget, quality or id; returns it."""
        self._member = self.find(member) if member is not None else self.pick(budget, quality)
        return self._member

    def find(self, member: str) -> Member:
        """Return the member with this id.

        Raises:
            WsnError: there is none.
        """
        for found in self.members:
            if found.id == member:
                return found
        raise WsnError(f"No member {member!r}; this front has {listed(m.id for m in self.members)}")

    def _expected(self, member: Member) -> Mapping[str, Any]:
        latency = member.row.get("latency_ms")
        if not self.adaptive or latency is None:
            return member.row
        return {**member.row, "latency_ms": latency * self._load}

    # -- running -----------------------------------------------------------------------------------------

    def __call__(self, inputs: Tensor, budget: Any = None, quality: float | None = None) -> Tensor:
        """Return the logits of a batch, of the current member or of one for this request.

        Args:
            inputs: images (B, C, H, W), normalised as in training and resized here, or tokens (B, T).
            budget: of this request.
            quality: of this request.
        """
        return self.run(inputs, self.choose(budget, quality))

    def run(self, inputs: Tensor, member: Member) -> Tensor:
        """Return the logits of a batch, of a member."""
        start = time.perf_counter()
        with torch.inference_mode():
            logits = self.net.predict(member.view, inputs.to(self.device), member.subnet)
        self._observe(member, 1e3 * (time.perf_counter() - start), len(inputs))
        return logits

    def _observe(self, member: Member, measured_ms: float, batch: int) -> None:
        """Learn how loaded the machine is from a request of one sample."""
        latency = member.row.get("latency_ms")
        if latency and batch == 1:
            with self._lock:
                self._load += SMOOTHING * (measured_ms / latency - self._load)

    def generate(self, tokens: Tensor, budget: Any = None, quality: float | None = None, **kwargs: Any) -> Tensor:
        """Continue text (B, T) with a member of a language model, as transformers' ``generate``."""
        member: Any = self.choose(budget, quality)
        return member.view.generate(tokens.to(self.device), **kwargs)

    def speculate(self, tokens: Tensor, draft: str | None = None, **kwargs: Any) -> Speculation:
        """Continue one text greedily with the largest member, drafted by a smaller one (by default the smallest)."""
        small = self.members[0] if draft is None else self.find(draft)
        return speculate(self.members[-1].view, small.view, tokens.to(self.device), **kwargs)

    def route(self, budget: float) -> Subnet:
        """Return the subnet that the trained router chooses for a budget, a share of the largest's cost.

        Raises:
            WsnError: the front was trained without a router, or its router needs an input: see :meth:`routed`.
        """
        from wsn.routers.grouped import routed_subnet

        return routed_subnet(self.net, budget)

    @torch.inference_mode()
    def routed(self, tokens: Tensor, budget: float) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T) by the trained router's choices, computing only these.

        Args:
            tokens: a batch; a dynamic router chooses for each sequence, or for each token and layer.
            budget: share of the largest subnet's cost.

        Raises:
            WsnError: the front was trained without a router.
        """
        from wsn.routers.grouped import router_of, run_routed

        net: Any = self.net
        return run_routed(net, router_of(net), tokens.to(self.device), budget)[0]

    def memory_bytes(self) -> int:
        """Return the bytes of all tensors that the members need, each storage once."""
        tensors = [t for module in (self.net, *(m.view for m in self.members)) for t in _tensors(module)]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _tensors(module: nn.Module) -> list[Tensor]:
    tables = (table for part in module.modules() for table in (part._parameters, part._buffers))
    return [t for table in tables for t in table.values() if t is not None]
