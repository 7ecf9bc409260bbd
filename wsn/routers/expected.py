"""Expected cost of relaxed choices, with a gradient."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wsn.cost_models.macs import Part, cost_table
from wsn.routers.choices import Choices, Key, Weights
from wsn.space import Subnet
from wsn.supernet import Supernet
from wsn.supernet.precision import full_precision


class _Term(NamedTuple):
    """One part of the network by the choices that it depends on."""

    keys: tuple[Key, ...]
    combinations: Tensor  # (M, keys): of their choices
    values: Tensor  # (M,): the part's cost


class ExpectedCost:
    """Expected cost of relaxed choices, as a share of the largest subnet's, differentiable in the shares.

    The choices are independent, so the expectation is exact: for each part (embedding, layer, head) the sum over
    the combinations of its choices of their probability times the part's cost. Of a one-hot
    choice it is the subnet's cost.

    Args:
        net: the supernet of a language model.
        value: cost of a part, e.g. :meth:`wsn.cost_models.base.CostModel.part`.
    """

    def __init__(self, net: Supernet, value: Callable[[Part], float]):
        self.choices = Choices(net.space)
        self.table = cost_table(net)
        self.value = value
        largest = net.space.max()
        self.full = self.of(largest)
        embed = self.choices.values("embed_dim", 0)[0]
        terms = [self._term([embed], _at(0)), self._term([embed], _at(-1))]
        for _, _, layer in net.space.kept(largest):
            units = [self.choices.values(name, layer)[0] for name in ("heads", "ffn")]
            terms.append(self._term([embed, *units, self.choices.kept(layer)[0]], _layer(layer)))
        self.terms = [term._replace(values=term.values / self.full) for term in terms]

    def of(self, subnet: Subnet) -> float:
        """Return the cost of a subnet, the sum over its parts."""
        return sum(map(self.value, self.table.parts(subnet)))

    def share(self, subnet: Subnet) -> float:
        """Return the cost of a subnet as a share of the largest's."""
        return self.of(subnet) / self.full

    def __call__(self, weights: Weights) -> Tensor:
        """Return the mean expected cost, over sequences and tokens where they have shares of their own."""
        total: Tensor = torch.zeros(())
        for keys, combinations, values in self.terms:
            chance: Tensor = values.new_ones(len(values))
            for key, at in zip(keys, combinations.unbind(1)):
                chance = chance.to(weights[key].device) * full_precision(weights[key])[..., at.to(weights[key].device)]
            total = total.to(chance.device) + chance @ values.to(chance.device, chance.dtype)
        return total.mean()

    def _term(self, keys: Sequence[Key], find: "_Find") -> _Term:
        """Return the cost of a part for all combinations of the choices that it depends on."""
        routed = tuple(key for key in dict.fromkeys(keys) if key in self.choices.routed)
        index = list(itertools.product(*(range(len(self.choices.routed[key])) for key in routed)))
        values = []
        for combination in index:
            subnet = self.choices.subnet(dict(zip(routed, combination)))
            part = find(self.table.parts(subnet), [layer for _, _, layer in self.choices.space.kept(subnet)])
            values.append(0.0 if part is None else self.value(part))
        shape = (len(index), len(routed))
        return _Term(routed, torch.tensor(index, dtype=torch.long).view(shape), torch.tensor(values))


_Find = Callable[[Sequence[Part], Sequence[int]], Part | None]
"""Parts of a subnet and its kept layers → the wanted part, None where its layer is skipped."""


def _at(index: int) -> _Find:
    return lambda parts, kept: parts[index]


def _layer(layer: int) -> _Find:
    return lambda parts, kept: parts[1 + kept.index(layer)] if layer in kept else None
