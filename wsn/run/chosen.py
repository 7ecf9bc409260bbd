"""Subnets of a run that a rule or a router chooses for a budget: ``subnet=mix@...``, ``sorted@...``, ``route@...``."""

from pathlib import Path

from wsn.config import build_data
from wsn.errors import WsnError
from wsn.importance.calibration import placed
from wsn.importance.layers import block_influence
from wsn.routers.grouped import routed_subnet
from wsn.run.folder import read_config
from wsn.run.load import load_supernet
from wsn.search.budgeted import layer_rates, mix_n_match, sorted_subnet
from wsn.search.constraint import Constraint
from wsn.subnet import Subnet

BATCHES = 8  # of held-out text, by which layers are scored


def subnet_by_rule(folder: str | Path, spec: str) -> Subnet:
    """Return the subnet that ``mix@<constraints>``, ``sorted@<rate>`` or ``route@<budget>`` names.

    Args:
        folder: the run folder.
        spec: checked by :func:`wsn.run.known.check_spec`.

    Raises:
        WsnError: a run whose space does not leave the layers free, or without a router, or a budget below the
            smallest subnet.

    Source: MatFormer and UniQL, see :mod:`wsn.search.budgeted`. Differs from UniQL's released code: Block Influence is
    of the residual stream at all positions, not of the normed one at the last.
    """
    cfg = read_config(folder)
    net = load_supernet(folder, cfg)
    rule, _, budget = spec.partition("@")
    if rule == "mix":
        return mix_n_match(net, Constraint.parse_all(budget))
    if rule == "route":
        return routed_subnet(net, float(budget))
    if net.in_chans or len(net.providers):
        raise WsnError("subnet=sorted@<rate> prunes a language model without LoRAs. Take best@<constraints>")
    with placed(net) as device:
        scores = block_influence(net, build_data(cfg.data).held_out(BATCHES, device))
    return sorted_subnet(net, layer_rates(scores, float(budget)).tolist())
