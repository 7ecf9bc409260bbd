"""A frozen base of few bits: the weights of the blocks' linear layers, by torchao."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wsn.errors import WsnError, listed

GROUP = 32  # input channels that share a scale in int4: widths are multiples of it
BASES = ("int8", "int4")


def quantise_blocks(net: Any, base: str) -> None:
    """Quantise the weights of the linear layers of a supernet's elastic blocks, in place and for good.

    The quantised weights are narrowed as others are: views slice them. They have no gradient. Embeddings, norms and
    head stay as they are.

    Args:
        net: the supernet, its channels sorted.
        base: ``int8`` (one scale for each output channel), or ``int4`` (one for each 32 input channels; torchao's
            kernel that packs two values in a byte does not run on CPUs and is not sliced, so each takes a byte).

    Raises:
        WsnError: torchao is not installed, or another base.

    Source: QLoRA, Dettmers et al. 2023, arXiv:2305.14314, as AmoebaLLM's released code trains. Differs: linear
    quantisation of weights, not NF4 of bitsandbytes.
    """
    if base not in BASES:
        raise WsnError(f"method.base must be one of {listed(BASES)}, or null. Received {base!r}")
    try:
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerGroup
    except ImportError as error:
        raise WsnError("method.base needs torchao. Run: pip install 'wsn[export]'") from error
    four: Any = getattr(torch, "int4")  # noqa: B009 (torch's stubs lack it)
    int4 = IntxWeightOnlyConfig(weight_dtype=four, granularity=PerGroup(GROUP))
    for path in net.elastic:
        quantize_(net.model.get_submodule(path), Int8WeightOnlyConfig() if base == "int8" else int4, _is_linear)


def _is_linear(layer: nn.Module, path: str) -> bool:
    return isinstance(layer, nn.Linear)


def take_layout(net: nn.Module, state: Mapping[str, Tensor], prefix: str = "") -> None:
    """Make those parameters of a network quantised ones that are so in a state, before the state is loaded.

    Args:
        net: the network.
        state: name → tensor.
        prefix: of the network's names in the state.
    """
    for path, module in net.named_modules():
        for name, own in list(module._parameters.items()):
            given = state.get(f"{prefix}{path}.{name}" if path else prefix + name)
            if own is not None and given is not None and type(given) not in (Tensor, nn.Parameter):
                module._parameters[name] = nn.Parameter(given.to(own.device), requires_grad=False)


def dense(weight: Tensor) -> Tensor:
    """Return a weight as an ordinary tensor."""
    return weight if type(weight) in (Tensor, nn.Parameter) else weight.dequantize()
