"""How important the blocks of a network are, each by itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsn.evaluation.evaluate import evaluate
from wsn.importance.activations import padding_of
from wsn.space import Subnet
from wsn.supernet import Supernet


@torch.no_grad()
def block_influence(net: Supernet, batches: Iterable[Any]) -> Tensor:
    """Score each elastic block by how much it turns its input: mean over positions of 1 − cos(input, output).

    Args:
        net: the supernet; its largest network is looked at, in its mode.
        batches: inputs, or pairs of inputs and labels; positions of padding do not count.

    Returns:
        (blocks,) in network order; in [0, 2].

    Source: ShortGPT, Men et al. 2024, arXiv:2403.03853, equation 1; Minitron, Muralidharan et al. 2024,
    arXiv:2407.14679, §2.2.
    """
    paths = list(net.blocks(net.space.max()))
    turned, count = torch.zeros(len(paths), dtype=torch.float64), [0] * len(paths)
    keep: Tensor | None = None

    def hook(at: int) -> Callable[[nn.Module, tuple, dict, Any], None]:
        def see(block: nn.Module, args: tuple, kwargs: dict, out: Any) -> None:
            x = args[0] if args else kwargs["hidden_states"]
            out = out[0] if isinstance(out, tuple) else out
            found = 1 - F.cosine_similarity(x.float(), out.float(), dim=-1)
            found = found if keep is None else found[keep]
            turned[at] += found.double().sum().cpu()
            count[at] += found.numel()

        return see

    handles = [
        net.model.get_submodule(path).register_forward_hook(hook(at), with_kwargs=True) for at, path in enumerate(paths)
    ]
    try:
        for batch in batches:
            inputs, keep = padding_of(batch)
            net.model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return (turned / torch.tensor(count)).float()


def loss_drop(net: Supernet, batches: Sequence[Any], metrics: Any) -> Tensor:
    """Score each layer of a language model by how much the loss rises without it.

    Args:
        net: a supernet of which any set of layers is a subnet.
        batches: inputs and labels.
        metrics: makes the metrics of one subnet; they have a ``loss``.

    Returns:
        (layers,) in network order, nats; may be negative.

    Source: Shortened LLaMA, Kim et al. 2024, arXiv:2402.02834, §3.2 (by perplexity); Minitron, §2.2.
    """
    count = len(net.space.dimensions["layers"])
    subnets = [net.space.max(), *(without(net, [layer]) for layer in range(count))]
    full, *losses = (found["loss"] for found in evaluate(net, subnets, batches, None, metrics))
    return torch.tensor(losses) - full


def without(net: Supernet, removed: Iterable[int]) -> Subnet:
    """Return the largest subnet without these layers."""
    gone = set(removed)
    return net.space.subnet(layers=[int(i not in gone) for i in range(len(net.space.dimensions["layers"]))])


def nested_layers(scores: Tensor, fewest: int, keep_last: int = 1) -> Mapping[int, list[int]]:
    """Return which layers each depth keeps where they are removed one after another by ascending importance.

    Args:
        scores: (layers,).
        fewest: the smallest depth.
        keep_last: number of last layers that are always kept.

    >>> nested_layers(torch.tensor([3.0, 1.0, 2.0, 0.0]), fewest=2)
    {4: [0, 1, 2, 3], 3: [0, 2, 3], 2: [0, 3]}
    """
    order = torch.argsort(scores[: len(scores) - keep_last], stable=True).tolist()
    return {len(scores) - n: sorted(set(range(len(scores))) - set(order[:n])) for n in range(len(scores) - fewest + 1)}
