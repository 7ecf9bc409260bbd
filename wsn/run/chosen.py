"""Subnets of a run that a rule or a router chooses for a budget: ``subnet=mix@...``, ``sorted@...``, ``route@...``."""

from collections.abc import Callable

from wsn.data.base import DataModule
from wsn.errors import WsnError
from wsn.importance.calibration import placed
from wsn.importance.layers import block_influence
from wsn.routers.grouped import routed_subnet
from wsn.search.budgeted import layer_rates, mix_n_match, sorted_subnet
from wsn.search.constraint import Constraint
from wsn.space import Subnet
from wsn.supernet import Supernet

BATCHES = 8  # of held-out text, by which layers are scored


def subnet_by_rule(net: Supernet, data: Callable[[], DataModule], spec: str) -> Subnet:
    """Return the subnet that ``mix@<constraints>``, ``sorted@<rate>`` or ``route@<budget>`` names.

    Args:
        net: the trained supernet.
        data: returns the run's data, which ``sorted`` looks at.
        spec: checked by :func:`wsn.run.known.check_spec`.

    Raises:
        WsnError: a run whose space does not leave the layers free, or without a router, or a budget below the
            smallest subnet.

    Source: MatFormer and UniQL, see :mod:`wsn.search.budgeted`. Differs from UniQL's released code: Block Influence is
    of the residual stream at all positions, not of the normed one at the last.
    """
    rule, _, budget = spec.partition("@")
    if rule == "mix":
        return mix_n_match(net, Constraint.parse_all(budget))
    if rule == "route":
        return routed_subnet(net, float(budget))
    if net.inputs != "text" or len(net.providers):
        raise WsnError("subnet=sorted@<rate> prunes a language model without LoRAs. Take best@<constraints>")
    with placed(net) as device:
        scores = block_influence(net, data().held_out(BATCHES, device))
    return sorted_subnet(net, layer_rates(scores, float(budget)).tolist())
