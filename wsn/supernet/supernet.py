"""A supernet: the largest network, its search space, and how a subnet is cut from it as views."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.space import SearchSpace, Subnet
from wsn.supernet.couple import Coupling, couple, couple_in_place, has_leaf, leaf_of
from wsn.supernet.images import at_resolution
from wsn.supernet.leaves import detach_tree, shallow, shallow_tree
from wsn.supernet.order import ChannelScore, magnitude, sort_channels

BlockChoice = tuple
"""The choices of one block, hashable; ``()`` for a segment that is the same in every subnet."""

Reads = Sequence[tuple[str, int]]
"""Choices that a block depends on: dimension and position, 0 for a dimension of the whole network."""


class Supernet(nn.Module):
    """Shared weights of all subnets of a search space.

    ``model`` is the largest network, an ordinary module of timm or transformers whose state dict is untouched. A
    subnet is a shallow copy of it in which each leaf holds views of the shared tensors and skipped
    blocks are absent, so its ``forward`` is the library's own. Nothing remembers an "active" subnet.

    A backbone subclasses this with :meth:`reads`, which choices of a subnet each of its blocks depends on, and
    :meth:`widths`, how many channels these leave; and with :meth:`segment`, for the cost.

    Args:
        model: the largest network.
        space: the search space.
        in_chans: number of input channels.
        elastic: paths in ``model`` of the blocks that can be narrowed or skipped, in network order.
    """

    inputs = "images"
    """Kind of the network's inputs: ``images`` (B, C, H, W) or ``text``, tokens (B, T)."""

    sorts_channels = True
    """Whether :meth:`order_channels` can sort the channels of this backbone."""

    def __init__(self, model: nn.Module, space: SearchSpace, in_chans: int, elastic: Sequence[str]):
        super().__init__()
        self.model: Any = model  # nn.Module types every attribute as Tensor | Module
        self.own_space = space
        self.space = space
        self.in_chans = in_chans
        self.paths = tuple(elastic)
        self.elastic = frozenset(elastic)
        self.meeting: frozenset[str] = frozenset()
        """Groups of streams that identity shortcuts of some subnets join: not sorted once subnets are trained."""
        above = (path.split(".")[:n] for path in elastic for n in range(1, path.count(".") + 1))
        self.parents = frozenset(".".join(p) for p in above)
        """Paths of the modules that elastic blocks are in."""
        self.providers = nn.ModuleList()
        """Weight providers, which add to views more than slices, see :mod:`wsn.providers.base`."""
        self.known_costs: dict[Subnet, Any] = {}
        """Costs that are not to be counted, see :class:`wsn.cost_models.macs.Cost`."""

    @contextmanager
    def bare(self) -> Iterator[SearchSpace]:
        """Be the backbone again for a while: its own space, which is yielded, and no weight providers."""
        space, providers = self.space, self.providers
        self.space, self.providers = self.own_space, nn.ModuleList()
        try:
            yield self.space
        finally:
            self.space, self.providers = space, providers

    # -- what a backbone implements ------------------------------------------------------------------

    def reads(self, path: str) -> Reads:
        """Return which choices the block at ``path`` depends on, as (dimension, position), in the order of its choice.

        Path "" stands for what lies outside the elastic blocks: stem and head.
        """
        raise NotImplementedError

    def kept(self, subnet: Subnet) -> Iterable[str]:
        """Return the paths of the elastic blocks that the subnet keeps, in network order."""
        return [self.paths[at] for _, _, at in self.space.kept(subnet)]

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        """Return how many channels each coupling of a block keeps: a pure function of both."""
        return {}

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        """Return the elastic block at ``path`` with these choices, as views: a pure function of both."""
        return couple(self.model.get_submodule(path), self.widths(path, choice))

    def around(self, choice: BlockChoice) -> nn.Module:
        """Return the model without its elastic blocks, narrowed outside them, as views; for :meth:`segment`."""
        return couple_in_place(self._copy(self.model, "", {}), self.widths("", choice))

    def finish(self, view: nn.Module, subnet: Subnet) -> nn.Module:
        """Complete a view whose leaves are narrowed: attributes of the root, renumbered layers."""
        return view

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        """Return the chain of (segment name, choices) whose composition is the subnet's forward, for the cost.

        The name of an elastic block is its path in ``model``; the others are stem and head.
        """
        around = self.outside(subnet)
        return [("stem", around), *self.blocks(subnet).items(), ("head", around)]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        """Return a segment that is not an elastic block as one module."""
        raise NotImplementedError

    def part(self, name: str, choice: BlockChoice) -> nn.Module:
        """Return a segment, of :meth:`segments`, as one module of views."""
        return self.narrow(name, choice) if name in self.elastic else self.segment(name, choice)

    def example(self, subnet: Subnet) -> Tensor:
        """Return an input of one sample on the meta device: (1, C, H, W) at the subnet's resolution."""
        size = int(subnet["resolution"])
        return torch.empty(1, self.in_chans, size, size, device="meta")

    def segment_input(self, name: str, subnet: Subnet) -> Tensor | None:
        """Return the input of a segment on the meta device, or None where it is the output of the one before."""
        return None

    def predict(self, view: nn.Module, inputs: Tensor, subnet: Subnet) -> Tensor:
        """Run a view of the subnet, or any network of its kind (a teacher), on a batch as the loader gives it.

        Returns:
            logits (B, K) of images (B, C, H, W), which are resized to the subnet's resolution.
        """
        return view(at_resolution(inputs, subnet))

    def around_blocks(self, subnet: Subnet) -> tuple:
        """Return what all blocks of a subnet depend on, beside their own choices and their input."""
        keys = (provider.key(subnet) for provider in self.providers)  # type: ignore[operator]
        return self.outside(subnet), subnet.get("resolution"), *keys

    # -- what follows from it ------------------------------------------------------------------------

    @property
    def space(self) -> SearchSpace:
        """The search space; a method may put another one in its place before training."""
        return self._space

    @space.setter
    def space(self, space: SearchSpace) -> None:
        self._space = space
        self._reads: dict[str, tuple[tuple[str, int | None], ...]] = {}  # position: None of a whole network's dimension

    def _read(self, path: str) -> tuple[tuple[str, int | None], ...]:
        found = self._reads.get(path)
        if found is None:
            scopes = {name: d.scope for name, d in self.space.dimensions.items()}
            found = tuple((name, None if scopes[name] == "network" else at) for name, at in self.reads(path))
            self._reads[path] = found
        return found

    def choice(self, path: str, subnet: Subnet) -> BlockChoice:
        """Return the choices of a subnet that the block at ``path`` depends on."""
        return tuple([subnet[name] if at is None else subnet[name][at] for name, at in self._read(path)])

    def blocks(self, subnet: Subnet) -> dict[str, BlockChoice]:
        """Return the choices of each elastic block that the subnet keeps, by its path, in network order."""
        return {path: self.choice(path, subnet) for path in self.kept(subnet)}

    def outside(self, subnet: Subnet) -> BlockChoice:
        """Return the choices of what lies outside the elastic blocks; path "" for :meth:`widths`."""
        return self.choice("", subnet)

    def choices_at(self, path: str, space: SearchSpace) -> Iterator[BlockChoice]:
        """Yield the choices that a block (or "", what lies outside) can have in a sub-space."""
        read = self._read(path)
        different = tuple(dict.fromkeys(read))
        choices = [space.dimensions[name].choices[at or 0] for name, at in different]
        for values in itertools.product(*choices):
            of = dict(zip(different, values))
            yield tuple(of[position] for position in read)

    # -- subnets --------------------------------------------------------------------------------------

    def view(self, subnet: Subnet) -> nn.Module:
        """Return the subnet as a plain module whose parameters are views of the shared ones.

        Gradients flow into the shared parameters; in training mode batch norm updates the shared
        running statistics of the active channels. Make it anew for each use: it costs about as much as a few
        layers' overhead, and a fresh view is right in every grad and inference mode.

        Raises:
            WsnError: the subnet is not of this supernet's space.
        """
        if subnet not in self.space:
            raise WsnError(
                f"This subnet is not of the supernet's space. Received {subnet!r}; "
                f"allowed are:\n{self.space.describe()}"
            )
        view = self._copy(self.model, "", self.blocks(subnet))
        couple_in_place(view, self.widths("", self.outside(subnet)))
        for provider in self.providers:
            provider(self, view, subnet)
        return self.finish(view, subnet)

    def extract(self, subnet: Subnet) -> nn.Module:
        """Return the subnet as an independent module with its own parameters, which needs no wsn to run."""
        training = self.providers.training
        self.providers.eval()
        with torch.inference_mode(False), torch.enable_grad():
            plain = detach_tree(self.view(subnet))
        self.providers.train(training)
        return plain.requires_grad_(True) if len(self.providers) else plain

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Tensor:
        """Run a subnet, by default the largest network.

        Args:
            x: (B, C, H, W); it is not resized to the subnet's resolution.
            subnet: member of the space; None: the largest.

        Returns:
            logits (B, num_classes).
        """
        if subnet is None and len(self.providers):
            subnet = self.space.max()
        model = self.model if subnet is None else self.view(subnet)
        return model(x)

    def _copy(self, module: nn.Module, path: str, kept: dict[str, BlockChoice]) -> nn.Module:
        clone = shallow(module)
        for name, child in module._modules.items():
            if child is None:
                continue
            child_path = f"{path}.{name}" if path else name
            if child_path in self.elastic:
                if child_path in kept:
                    clone._modules[name] = self.narrow(child_path, kept[child_path])
                else:
                    del clone._modules[name]
            elif child_path in self.parents:
                clone._modules[name] = self._copy(child, child_path, kept)
            else:
                clone._modules[name] = shallow_tree(child)
        return clone

    # -- importance ordering ------------------------------------------------------------------------

    @torch.no_grad()
    def order_channels(
        self, keep: SearchSpace | None = None, score: Callable[[str], Tensor] | None = None
    ) -> dict[str, dict[Coupling, Tensor]]:
        """Sort the elastic channels by importance, so that narrower subnets keep the most important ones.

        The largest network computes the same function before and after. The optimizer's state is not
        permuted: start a fresh optimizer.

        Args:
            keep: a sub-space that is already trained: channels stay within the bands of its widths, so that
                its subnets keep their function too.
            score: path of a layer → importance of each of its input channels (C,), see :mod:`wsn.importance`; by
                default the L1 norm of the weights that read the channel (OFA).

        Returns:
            the permutations, for :meth:`permute_channels` of another copy of the weights (an average, say).

        Raises:
            WsnError: a backbone that cannot, see :attr:`sorts_channels`.
        """
        if not self.sorts_channels:
            raise WsnError("The layers of this backbone share their channels, which cannot be sorted")
        score = score or magnitude(self.model)
        order = self.channel_order(score if isinstance(score, ChannelScore) else ChannelScore(score), keep)
        self.permute_channels(order)
        return order

    @torch.no_grad()
    def channel_order(self, score: ChannelScore, keep: SearchSpace | None = None) -> dict[str, dict[Coupling, Tensor]]:
        """Return the permutations that :meth:`order_channels` applies: path → coupling → (units,)."""
        largest = self.space.max()
        full = {"": self.widths("", self.outside(largest))}
        full.update((path, self.widths(path, choice)) for path, choice in self.blocks(largest).items())
        scores: dict[Any, Tensor] = {}
        bands: dict[Any, set[int]] = {}
        for path, widths in full.items():
            choices = list(self.choices_at(path, keep)) if keep else []
            for coupling, count in widths.items():
                key = coupling.group or (path, coupling)
                found = self._score(path, coupling, count, score)
                scores[key] = scores[key] + found if key in scores else found
                kept = {self.widths(path, choice)[coupling] for choice in choices} - {count}
                bands[key] = bands.get(key, set()) | kept
        order = {key: sort_channels(value, sorted(bands[key])) for key, value in scores.items()}
        if keep is not None:
            order.update((key, torch.arange(len(order[key]))) for key in self.meeting & order.keys())
        return {
            path: {coupling: order[coupling.group or (path, coupling)] for coupling in widths}
            for path, widths in full.items()
        }

    def _score(self, path: str, coupling: Coupling, count: int, score: ChannelScore) -> Tensor:
        """Return the importance of the units of a coupling (count,), by the layers of this block that consume them."""
        block = self.model.get_submodule(path)
        total = torch.zeros(count, device=next(self.parameters()).device)
        for member in coupling.into:
            leaf = leaf_of(member)
            wanted = coupling.scored_by is None or leaf.name in coupling.scored_by
            if wanted and has_leaf(block, leaf.name):
                total += score.units(f"{path}.{leaf.name}" if path else leaf.name, leaf.chunks, count, leaf.unit)
        return total

    @torch.no_grad()
    def permute_channels(self, order: dict[str, dict[Coupling, Tensor]]) -> None:
        """Permute coupled channels in place; the largest network's function does not change."""
        for path, permutations in order.items():
            block = self.model.get_submodule(path)
            permuted = couple(block, permutations)
            tensors = itertools.chain(block.named_parameters(), block.named_buffers())
            moved = dict(itertools.chain(permuted.named_parameters(), permuted.named_buffers()))
            for name, tensor in tensors:
                if moved[name] is not tensor:
                    tensor.copy_(moved[name])
        for provider in self.providers:
            provider.permute(order)  # type: ignore[operator]


class Segment(nn.Module):
    """A part of a network as a module of its own, for counting what it costs.

    Args:
        network: where its members are.
        members: names of modules and parameters of the network; the absent ones are left out.
        run: forward, from the segment's input to its output.
    """

    def __init__(self, network: nn.Module, members: Sequence[str], run: Callable[[Tensor], Tensor]):
        super().__init__()
        for name in members:
            if network._modules.get(name) is not None:
                self._modules[name] = network._modules[name]
            elif network._parameters.get(name) is not None:
                self._parameters[name] = network._parameters[name]
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        """Run the part."""
        return self.run(x)
