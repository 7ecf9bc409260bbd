"""Subnets that follow from a budget by a rule, without a search: MatFormer's Mix'n'Match, UniQL's pruning rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wsn.cost_models.base import CostModel
from wsn.cost_models.counted import Macs, Params, WeightBytes
from wsn.errors import WsnError
from wsn.search.constraint import Constraint, check_keys
from wsn.space import SearchSpace, Subnet
from wsn.supernet import Supernet

FFN = ("ffn", "mlp_ratio")
"""Names of the dimension of FFN widths: in language models, in vision transformers."""
COSTS: Mapping[str, CostModel] = {"macs": Macs(), "params": Params(), "weight_bytes": WeightBytes()}


def mix_n_match(net: Supernet, constraints: Sequence[Constraint], costs: Mapping[str, CostModel] = COSTS) -> Subnet:
    """Return the largest subnet within a budget whose FFNs widen with depth, by as little as can be.

    The first layers have one granularity, all others the next larger one; every other dimension is at its largest.

    Args:
        net: a supernet of a transformer.
        constraints: upper limits of costs.
        costs: name → cost that can be constrained.

    Raises:
        WsnError: an unknown cost, a lower limit, no FFN with choices of its own, or a budget below the smallest.

    Source: MatFormer, Kudugunta et al. 2023, arXiv:2310.07707, §3.3 (Mix'n'Match: granularities that do not decrease
    with depth, with the least slope).
    """
    check_keys(constraints, costs, "subnet=mix")
    if not constraints or any(c.sign != "<=" for c in constraints):
        raise WsnError(
            f"subnet=mix needs upper limits, e.g. mix@params<=60e6. Received {[str(c) for c in constraints]}"
        )
    values: dict[str, float] = {}
    for subnet in mixtures(net.space):
        values = {c.key: costs[c.key](net, subnet) for c in constraints}
        if all(c.holds(values) for c in constraints):
            return subnet
    found = ", ".join(f"{key} {value:.6g}" for key, value in values.items())
    raise WsnError(f"subnet=mix: no mixture keeps to {[str(c) for c in constraints]}; the smallest has {found}")


def mixtures(space: SearchSpace) -> list[Subnet]:
    """Return the subnets of two adjacent granularities of the FFN, switched at one layer, the largest first.

    >>> from wsn.space.dimension import Dimension
    >>> space = SearchSpace([Dimension("ffn", [16, 32, 64], 2, "block")], [2])
    >>> [subnet["ffn"] for subnet in mixtures(space)]
    [(64, 64), (32, 64), (32, 32), (16, 32), (16, 16)]

    Raises:
        WsnError: a space without an FFN dimension, or one whose FFNs follow another dimension.
    """
    name = next((n for n in FFN if n in space.dimensions and n not in space.followers), None)
    if name is None or space.dimensions[name].scope != "block":
        raise WsnError(f"subnet=mix chooses the FFN of each layer, which this space does not leave free:\n{space!r}")
    choices = space.dimensions[name].choices
    levels, count = max(map(len, choices)), len(choices)
    steps = [(level, switch) for level in reversed(range(levels - 1)) for switch in range(count)]
    mixed = [[level if at < switch else level + 1 for at in range(count)] for level, switch in steps]
    wanted = [*mixed, [0] * count]
    values = [[c[min(i, len(c) - 1)] for i, c in zip(indices, choices)] for indices in wanted]
    return [space.subnet(**{name: value}) for value in values]


def layer_rates(scores: Tensor, rate: float, epsilon: float = 0.1, most: float = 0.85) -> Tensor:
    """Return the share of each layer that is pruned: L · rate · softmax(−score / ε), at most ``most``.

    Args:
        scores: importance of the layers (L,), see :func:`wsn.importance.layers.block_influence`.
        rate: mean over the layers, where none is limited.
        epsilon: the larger, the more equal.
        most: of a layer.

    Source: UniQL, Chiang et al. 2025, arXiv:2512.03383; released code ``get_layer_ratio.py``.
    """
    return (len(scores) * rate * torch.softmax(-scores / epsilon, 0)).clamp(0, most)


def sorted_subnet(net: Supernet, rates: Sequence[float]) -> Subnet:
    """Return the subnet whose layers are pruned at these rates: heads and FFN of each to the nearest choice.

    Prefixes are kept, so sort the channels first: ``order_channels: uniql``.

    Args:
        net: a supernet of a language model.
        rates: share of each layer that is pruned.

    Raises:
        WsnError: a space that does not leave the layers' heads and FFN free.
    """
    dimensions = {n: net.space.dimensions.get(n) for n in ("heads", "ffn")}
    if any(d is None or d.scope != "block" or n in net.space.followers for n, d in dimensions.items()):
        raise WsnError(f"subnet=sorted prunes heads and FFN of each layer, which this space lacks:\n{net.space!r}")
    values: dict[str, Any] = {
        name: [min(reversed(c), key=lambda v: abs(v - (1 - rate) * c[-1])) for c, rate in zip(d.choices, rates)]  # noqa: B023
        for name, d in dimensions.items()
        if d is not None
    }
    return net.space.subnet(**values)
