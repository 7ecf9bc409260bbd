"""A supernet: the largest network, its search space, and how a subnet is cut from it as views."""

from typing import Any

import torch
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.narrow import Coupling, couple, detach_tree, shallow, shallow_tree
from wsn.space import SearchSpace
from wsn.subnet import Subnet

Choice = tuple
"""The choices of one block, hashable; ``()`` for a segment that is the same in every subnet."""


class Supernet(nn.Module):
    """Shared weights of all subnets of a search space.

    ``model`` is the largest network, an ordinary module of timm or transformers whose state dict is untouched. A
    subnet is a shallow copy of it in which each leaf holds views of the shared tensors and skipped
    blocks are absent, so its ``forward`` is the library's own. Nothing remembers an "active" subnet.

    A backbone subclasses this with :meth:`segments`, :meth:`narrow` and :meth:`segment`, and optionally
    :meth:`channel_order`.

    Args:
        model: the largest network.
        space: the search space.
        in_chans: number of input channels.
        elastic: paths in ``model`` of the blocks that can be narrowed or skipped.
    """

    def __init__(self, model: nn.Module, space: SearchSpace, in_chans: int, elastic: list[str]):
        super().__init__()
        self.model: Any = model  # nn.Module types every attribute as Tensor | Module
        self.space = space
        self.in_chans = in_chans
        self.elastic = frozenset(elastic)
        parents = (path.split(".")[:n] for path in elastic for n in range(1, path.count(".") + 1))
        self._parents = frozenset(".".join(p) for p in parents)

    # -- what a backbone implements ------------------------------------------------------------------

    def segments(self, subnet: Subnet) -> list[tuple[str, Choice]]:
        """Return the chain of (segment name, choices) whose composition is the subnet's forward.

        The name of an elastic block is its path in ``model``; the others (stem, head) have the choice ``()``.
        """
        raise NotImplementedError

    def narrow(self, path: str, choice: Choice) -> nn.Module:
        """Return the elastic block at ``path`` with these choices, as views: a pure function of both."""
        raise NotImplementedError

    def segment(self, name: str) -> nn.Module:
        """Return a segment that is not elastic (stem, head) as one module."""
        raise NotImplementedError

    def channel_order(self, path: str, keep: SearchSpace | None) -> dict[Coupling, Tensor]:
        """Return, for each group of channels of a block, its permutation by descending importance.

        Args:
            path: an elastic block.
            keep: the sub-space whose widths must stay the same sets of channels (band-preserving).
        """
        raise NotImplementedError

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
        return self._copy(self.model, "", dict(self.segments(subnet)))

    def extract(self, subnet: Subnet) -> nn.Module:
        """Return the subnet as an independent module with its own parameters, which needs no wsn to run."""
        with torch.inference_mode(False), torch.enable_grad():
            return detach_tree(self.view(subnet))

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Tensor:
        """Run a subnet, by default the largest network.

        Args:
            x: (B, C, H, W); it is not resized to the subnet's resolution.
            subnet: which subnet.

        Returns:
            logits (B, num_classes).
        """
        model = self.model if subnet is None else self.view(subnet)
        return model(x)

    def _copy(self, module: nn.Module, path: str, kept: dict[str, Choice]) -> nn.Module:
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
            elif child_path in self._parents:
                clone._modules[name] = self._copy(child, child_path, kept)
            else:
                clone._modules[name] = shallow_tree(child)
        return clone

    # -- importance ordering ------------------------------------------------------------------------

    @torch.no_grad()
    def order_channels(self, keep: SearchSpace | None = None) -> dict[str, dict[Coupling, Tensor]]:
        """Sort the elastic channels by importance, so that narrower subnets keep the most important ones.

        The largest network computes the same function before and after. The optimizer's state is not
        permuted: start a fresh optimizer.

        Args:
            keep: a sub-space that is already trained: channels stay within the bands of its widths, so that
                its subnets keep their function too.

        Returns:
            the permutations, for :meth:`permute_channels` of another copy of the weights (an average, say).
        """
        order = {path: self.channel_order(path, keep) for path in sorted(self.elastic)}
        self.permute_channels(order)
        return order

    @torch.no_grad()
    def permute_channels(self, order: dict[str, dict[Coupling, Tensor]]) -> None:
        """Permute coupled channels in place; the largest network's function does not change."""
        for path, permutations in order.items():
            block = self.model.get_submodule(path)
            permuted = couple(block, permutations)
            for (name, parameter), new in zip(block.named_parameters(), permuted.parameters(), strict=True):
                assert parameter.shape == new.shape, name
                parameter.copy_(new)
            for buffer, moved in zip(block.buffers(), permuted.buffers(), strict=True):
                buffer.copy_(moved)


def sort_channels(scores: Tensor, bands: list[int] | None = None) -> Tensor:
    """Return the permutation that sorts channels by descending score, within bands where given.

    Args:
        scores: (C,) importance of each channel.
        bands: ascending boundaries inside (0, C); channels do not leave their band.

    >>> sort_channels(torch.tensor([1.0, 3.0, 2.0, 4.0])).tolist()
    [3, 1, 2, 0]
    >>> sort_channels(torch.tensor([1.0, 3.0, 2.0, 4.0]), bands=[2]).tolist()
    [1, 0, 3, 2]
    """
    edges = [0, *(bands or []), len(scores)]
    parts = [
        torch.argsort(scores[left:right], descending=True, stable=True) + left for left, right in zip(edges, edges[1:])
    ]
    return torch.cat(parts)
