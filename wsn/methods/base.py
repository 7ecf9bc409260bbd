"""An elasticity scheme: which losses the subnets of a step get, by role, and in which phases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wsn.cost_models.macs import cost
from wsn.data.base import DataModule
from wsn.errors import WsnError, listed
from wsn.evaluation.task import Task, task_of
from wsn.losses import label_loss, soft_cross_entropy
from wsn.samplers.base import Draw
from wsn.schedule import Phase, RoleLoss, phases_for, phases_of
from wsn.space import SearchSpace, Subnet
from wsn.space.kinds import leaders_by_name
from wsn.supernet import Supernet, set_dropout

Batch = tuple[Tensor, Tensor]
Distillation = Callable[[Tensor, Tensor], Tensor]


class Pass(NamedTuple):
    """One forward of a step, ready for its backward."""

    role: str
    loss: Tensor
    logits: Tensor


class Method:
    """An elasticity scheme, composed in conf/method.

    What a run calls, in this order: :meth:`prepare` (:meth:`space`, then :meth:`wrap`) wherever its network is made;
    :meth:`begin` once, before training; :meth:`at` before each step; :meth:`step`.

    Args:
        name: name of the scheme, in labels and logs.
        phases: name → :class:`wsn.schedule.Phase`, or its values; at least one, in the order of training.
        losses: role → :class:`wsn.schedule.RoleLoss`, or its values; ``default`` serves the roles that are not listed.
        aggregation: ``sum`` adds the gradients of a step's subnets (the learning rates of the papers are made for
            it), ``mean`` divides by their number.
        label_smoothing: of the label loss.
        distillation: loss of (student logits, teacher logits), each (B, K).
        follow: dimension → the dimension that it follows, see :meth:`wsn.space.SearchSpace.follow`; or kind → kind.
        teacher_mode: ``train`` or ``eval``: how the external teacher runs. The released OFA code runs it in
            training mode, so with the batch's own BN statistics.
        init: called with the supernet once, before training from scratch.
        callbacks: name → Lightning callback that is a part of the scheme (a loss, a ramp, importance of images).

    Raises:
        WsnError: no phase, an unknown aggregation or teacher mode, no loss for a role.
    """

    def __init__(
        self,
        name: str,
        phases: Mapping[str, Phase | Mapping[str, Any] | None],
        losses: Mapping[str, RoleLoss | Mapping[str, Any] | None],
        aggregation: str = "sum",
        label_smoothing: float = 0.0,
        distillation: Distillation = soft_cross_entropy,
        teacher_mode: str = "train",
        init: Callable[[Supernet], None] | None = None,
        follow: Mapping[str, str] | None = None,
        callbacks: Mapping[str, Any] | None = None,
    ):
        self.phases = phases_of(phases)
        if not self.phases:
            raise WsnError(f"Method {name!r} has no phases; give at least one under method.phases")
        _one_of("method.aggregation", aggregation, ("sum", "mean"))
        _one_of("method.teacher_mode", teacher_mode, ("train", "eval"))
        self.left_out: list[Phase] = []
        """Phases that the space of the network has nothing for."""
        self.name = name
        self.losses = {
            role: loss if isinstance(loss, RoleLoss) else RoleLoss(**loss)
            for role, loss in losses.items()
            if loss is not None
        }
        self.aggregation = aggregation
        self.label_smoothing = label_smoothing
        self.distillation = distillation
        self.teacher_mode = teacher_mode
        self.init = init
        self.follow = dict(follow or {})
        self.callbacks = {name: callback for name, callback in (callbacks or {}).items() if callback is not None}
        self.role_weights: dict[str, float] = {}
        self.lr_scales: dict[str, float] = {}
        """Part of the supernet, by name → multiple of the learning rate; its parameters are a group of their own."""
        self.teacher: nn.Module | None = None
        self.task: Task | None = None
        """The task of the data; None: the usual one of the network's inputs."""

    @property
    def wants_teacher(self) -> bool:
        """Whether any role distils from the external teacher."""
        return any(loss.target == "teacher" for loss in self.losses.values())

    def prepare(self, net: Supernet, space: SearchSpace | None = None) -> Supernet:
        """Make a backbone into the network that this method trains; no weight and no data is looked at.

        Args:
            net: the backbone.
            space: of a run, which :meth:`begin` may have changed; None: as :meth:`space` has it.
        """
        net.space = self.space(net) if space is None else space
        self.phases, self.left_out = phases_for(self.phases, net.space)
        for phase in self.phases:
            if phase.order_channels and not net.sorts_channels:
                raise WsnError(
                    f"method={self.name} sorts channels before its phase {phase.name!r}, and this backbone cannot: its "
                    f"layers share them. Set method.phases.{phase.name}.order_channels=false, or take another backbone"
                )
        return self.wrap(net)

    def space(self, net: Supernet) -> SearchSpace:
        """Return the space that is trained, of a backbone's own."""
        return net.space.follow(**leaders_by_name(net.space, self.follow))

    def wrap(self, net: Supernet) -> Supernet:
        """Return a network with what the method adds, by shapes alone: weight providers, a router."""
        return net

    def begin(self, net: Supernet, data: DataModule) -> None:
        """Called once, before training, and not when a run is resumed or loaded: all that looks at weights or data.

        Args:
            net: of :meth:`prepare`; its space may be changed.
            data: the run's.
        """

    def at(self, epoch: float) -> dict[str, float]:
        """Called before each step: sets what depends on the progress, and returns values to log.

        Args:
            epoch: epochs done so far; fractions count.
        """
        return {}

    def freeze_teacher(self, net: Supernet) -> None:
        """Take a frozen copy of the largest network as it is now for the external teacher."""
        self.teacher = net.extract(net.space.max()).requires_grad_(False)
        set_dropout(self.teacher, on=False)
        self.teacher.train(self.teacher_mode == "train")

    def task_for(self, net: Supernet) -> Task:
        """Return what a network is trained for."""
        return self.task or task_of(net.inputs)

    def role_loss(self, role: str) -> RoleLoss:
        """Return the loss of a role."""
        loss = self.losses.get(role) or self.losses.get("default")
        if loss is None:
            raise WsnError(
                f"Method {self.name!r} has no loss for the role {role!r}; it has {listed(self.losses)}. "
                f"Add method.losses.{role} (or .default), or take a sampler with those roles"
            )
        return loss

    def step(self, net: Supernet, batch: Batch, draws: Sequence[Draw]) -> Iterator[Pass]:
        """Yield one :class:`Pass` per subnet, in the order of the draws.

        The loop runs each backward before it asks for the next pass, so only one graph is alive.

        Args:
            net: the supernet, in training mode.
            batch: images (B, C, H, W) and target, (B,) classes or (B, K) probabilities; or tokens (B, T) and the
                next tokens (B, T), :data:`wsn.losses.IGNORED` at padding.
            draws: the subnets with their roles; a role that teaches comes first.
        """
        inputs, labels = batch
        targets, task = StepTargets(self, net, batch), self.task_for(net)
        share = 1.0 if self.aggregation == "sum" else 1.0 / len(draws)
        for draw in draws:
            subnet, role = draw
            role_loss = self.role_loss(role)
            logits, penalty = self.forward(net, inputs, draw)
            logits, wanted = task.rows(logits, labels)
            loss = logits.new_zeros(())
            if role_loss.labels:
                loss = loss + role_loss.labels * label_loss(logits, wanted, self.label_smoothing)
            if role_loss.distill:
                target = targets.logits(str(role_loss.target), subnet)
                loss = loss + role_loss.distill * self.distillation(logits, target)
            if role_loss.balance:
                loss = loss * (targets.loss(role_loss.balance) / loss.detach())
            targets.see(role, logits, loss)
            weight = role_loss.weight * self.role_weights.get(role, 1.0)
            yield Pass(role, (loss + penalty) * (weight * share), logits.detach())

    def forward(self, net: Supernet, inputs: Tensor, draw: Draw) -> tuple[Tensor, Tensor | float]:
        """Run what a draw trains, by default the view of its subnet.

        Returns:
            its logits, and a penalty that is added to its loss.
        """
        view = net.view(draw.subnet)
        if not self.role_loss(draw.role).dropout:
            set_dropout(view, on=False)
        return net.predict(view, inputs, draw.subnet), 0.0

    def chosen(self, net: Supernet) -> dict[str, Subnet]:
        """Return subnets that the method itself chooses, by name, as it would now; they are evaluated with others."""
        return {}

    @torch.no_grad()
    def score(self, net: Supernet, batch: Batch, subnet: Subnet) -> Tensor:
        """Return the label loss of a subnet on a batch, by batch statistics, which are not kept."""
        inputs, labels = batch
        view = net.view(subnet)
        set_dropout(view, on=False)
        for part in view.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.momentum = 0.0
        return self.task_for(net).loss(net.predict(view, inputs, subnet), labels, self.label_smoothing)

    def largest_loss(self, net: Supernet) -> Callable[[nn.Module, Batch], Tensor]:
        """Return the label loss of the largest network as a function of (network, batch), with its gradient."""
        largest = net.space.max()

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return self.task_for(net).loss(net.predict(model, batch[0], largest), batch[1])

        return loss

    def passes(self, draws: Sequence[Draw]) -> int:
        """Return how many times :meth:`step` yields for these draws."""
        return len(draws)

    def macs(self, net: Supernet, draws: Sequence[Draw], teacher: bool = True) -> int:
        """Return the multiply-adds of a step for one image: three times each forward, once each teacher's.

        Args:
            net: the supernet.
            draws: the subnets of the step.
            teacher: whether the external teacher is there already, for roles that distil from it.
        """
        total = sum(3 * cost(net, subnet).macs for subnet, _ in draws)
        if teacher:
            seen = {s.get("resolution") for s, role in draws if self.role_loss(role).target == "teacher"}
            total += sum(cost(net, teacher_at(net, resolution)).macs for resolution in seen)
        return total


def teacher_at(net: Supernet, resolution: int | None) -> Subnet:
    """Return the largest subnet at a resolution."""
    largest = net.space.max()
    return largest if resolution is None else net.space.subnet(**{**largest, "resolution": resolution})


class StepTargets:
    """The logits that subnets of one step distil from, each computed once."""

    def __init__(self, method: Method, net: Supernet, batch: Batch):
        self.method = method
        self.net = net
        self.inputs, self.labels = batch
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}
        self._teacher: dict[int | None, Tensor] = {}

    def see(self, role: str, logits: Tensor, loss: Tensor) -> None:
        """Keep logits and loss of the first subnet of each role."""
        self.seen.setdefault(role, (logits.detach(), loss.detach()))

    def loss(self, role: str) -> Tensor:
        """Return the detached loss of an earlier role."""
        return self._of(role)[1]

    def _of(self, role: str) -> tuple[Tensor, Tensor]:
        if role not in self.seen:
            raise WsnError(f"No subnet of role {role!r} ran before in this step; the sampler must draw it first")
        return self.seen[role]

    def logits(self, target: str, subnet: Subnet) -> Tensor:
        """Return detached logits (B, K) of an earlier role, or of the external teacher at the same resolution."""
        if target != "teacher":
            return self._of(target)[0]
        if self.method.teacher is None:
            raise WsnError("There is no teacher yet: the first phase trains it, with a role that does not distil")
        resolution = subnet.get("resolution")
        if resolution not in self._teacher:
            with torch.no_grad():
                logits = self.net.predict(self.method.teacher, self.inputs, subnet)
                self._teacher[resolution] = self.method.task_for(self.net).rows(logits, self.labels)[0]
        return self._teacher[resolution]


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise WsnError(f"{key} must be one of {listed(allowed)}. Received {value!r}")
