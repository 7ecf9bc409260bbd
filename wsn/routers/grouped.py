"""Routed execution: sequences and tokens grouped by their choices, each group through its own narrow modules."""

from typing import Any

import torch
from torch import Tensor, nn

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.errors import WsnError
from wsn.routers.dynamic import SequenceRouter, TokenRouter
from wsn.space import Subnet


class TokenFFN(nn.Module):
    """An FFN whose tokens are grouped by width: gather, run the narrow FFN, scatter.

    Args:
        widths: the narrowed FFN of each choice.
        router: decides.
        layer: number of the layer in the largest network.
        budget: of the batch.
    """

    def __init__(self, widths: list[nn.Module], router: TokenRouter, layer: int, budget: float):
        super().__init__()
        self.widths = nn.ModuleList(widths)
        self.route = lambda x: router.logits(layer, budget, x).argmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Run on (B, T, d)."""
        chosen, flat = self.route(x).flatten(), x.flatten(0, 1)
        out = torch.zeros_like(flat)
        for k, ffn in enumerate(self.widths):
            at = (chosen == k).nonzero().squeeze(1)
            if len(at):
                out = out.index_copy(0, at, ffn(flat[at].unsqueeze(0)).squeeze(0))
        return out.view_as(x)


def router_of(net: nn.Module) -> Any:
    """Return the router of a supernet.

    Raises:
        WsnError: it was trained without one.
    """
    router = getattr(net, "router", None)
    if router is None:
        raise WsnError("This supernet was trained without a router: train with method=flextron or nemotron_elastic")
    return router


def routed_subnet(net: nn.Module, budget: float) -> Subnet:
    """Return the subnet that a supernet's router chooses for a budget, a share of the largest's cost.

    Raises:
        WsnError: there is no router, or it chooses a subnet for each sequence.
    """
    router = router_of(net)
    if isinstance(router, SequenceRouter):
        raise WsnError("This router chooses a subnet for each sequence: call wsn.ElasticPredictor(...).routed(...)")
    return router.route(budget)


@torch.no_grad()
def run_routed(net: CausalLMSupernet, router: Any, inputs: Tensor, budget: float) -> tuple[Tensor, list[Subnet]]:
    """Run a batch by the most likely choices of a router, computing only what was chosen.

    Args:
        net: the supernet.
        router: static, or of sequences: the batch is grouped by subnet; or of tokens: each FFN groups them by width.
        inputs: tokens (B, T).
        budget: share of the largest subnet's cost.

    Returns:
        logits (B, T, V), and the subnet of each sequence; a :class:`TokenRouter`'s has the largest FFNs.
    """
    if not isinstance(router, SequenceRouter):
        subnet = router.route(budget)
        view = token_view(net, router, subnet, budget) if isinstance(router, TokenRouter) else net.view(subnet)
        return net.predict(view, inputs, subnet), [subnet] * len(inputs)
    embedded = net.model.get_input_embeddings()(inputs)
    subnets = router.choices.subnets(router.logits(budget, embedded))
    logits: Tensor | None = None
    for subnet in dict.fromkeys(subnets):
        at = torch.tensor([i for i, s in enumerate(subnets) if s == subnet], device=inputs.device)
        part = net.predict(net.view(subnet), inputs[at], subnet)
        if logits is None:
            logits = part.new_zeros(len(inputs), *part.shape[1:])
        logits[at] = part
    assert logits is not None
    return logits, subnets


def token_view(net: CausalLMSupernet, router: TokenRouter, subnet: Subnet, budget: float) -> nn.Module:
    """Return the view of a subnet whose FFNs group their tokens by width."""
    view: Any = net.view(subnet)
    layers = view._modules[net.kind.base]._modules[net.kind.layers]
    path = f"{net.kind.base}.{net.kind.layers}"
    for (_, _, at), layer in zip(net.space.kept(subnet), layers.children()):
        widths = router.choices.all["ffn", at]
        if len(widths) > 1:
            shape = (subnet["embed_dim"], subnet["heads"][at])
            narrow = [net.narrow(f"{path}.{at}", (*shape, width)).get_submodule("mlp") for width in widths]
            layer._modules["mlp"] = TokenFFN(narrow, router, at, budget)
    return view
