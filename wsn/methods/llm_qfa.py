"""LLM-QFA: one quantised language model of any bit-width in each layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.data.base import DataModule
from wsn.errors import WsnError, listed
from wsn.files import replacing
from wsn.importance.calibration import fingerprint, placed
from wsn.methods.base import Method
from wsn.providers.bits import BitWidths
from wsn.providers.gptq import round_gptq, round_nearest
from wsn.space import Dimension, SearchSpace
from wsn.supernet import Supernet

ROUNDINGS = ("gptq", "nearest")


class LLMQFA(Method):
    """Quantise every linear layer at every bit-width once, then fine-tune LoRAs by sampling bit-widths layer by layer.

    The space has one dimension with a choice: ``bits``, for each layer; the others are at their largest. The weights
    are rounded before training begins and kept in a file, and are part of the checkpoint: neither a resumed run nor
    one that is evaluated rounds again. The checkpoint's weights stay beside the codes, frozen.

    Args:
        *args: as for :class:`Method`.
        bits: bit-widths, from 2 to 8.
        group: input channels that share a scale and a zero.
        rank: r of a LoRA.
        alpha: of the LoRAs' scale α/r.
        rounding: ``gptq``, or to the ``nearest``.
        batches: of held-out text, which GPTQ sees.
        cache: folder of the rounded weights of all runs.
        **kwargs: as for :class:`Method`.

    Raises:
        WsnError: a backbone that is not a language model, another rounding, or bit-widths beyond 2 to 8.

    Source: LLM-QFA, Yi et al. 2024, arXiv:2405.20202; no released code. Differs: the mean of all layers is scheduled
    exactly, see :mod:`wsn.samplers.resource_balanced`; the search is any of conf/search under ``weight_bytes<=...``.
    """

    def __init__(
        self,
        *args: Any,
        bits: Sequence[int],
        cache: str | Path,
        group: int = 32,
        rank: int = 64,
        alpha: float = 16.0,
        rounding: str = "gptq",
        batches: int = 8,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if rounding not in ROUNDINGS:
            raise WsnError(f"method.rounding must be one of {listed(ROUNDINGS)}. Received {rounding!r}")
        self.bits = list(bits)
        self.cache, self.batches = Path(cache), batches
        self.group, self.rank, self.alpha, self.rounding = group, rank, alpha, rounding

    def space(self, net: Supernet) -> SearchSpace:
        """Return the space of bit-widths."""
        if not isinstance(net, CausalLMSupernet):
            raise WsnError(
                "method=llm_qfa takes a language model. Set backbone=llama (or gpt2), and data=shakespeare or data=text"
            )
        return bits_space(net.space, self.bits)

    def wrap(self, net: Supernet) -> Supernet:
        """Return the network of bit-widths; its codes are empty."""
        net.model.requires_grad_(False)
        net.providers.append(BitWidths(net, self.group, self.rank, self.alpha))
        return super().wrap(net)

    def begin(self, net: Supernet, data: DataModule) -> None:
        """Fill the codes, by the file of these weights, this text and these settings; it is made if it is missing."""
        provider: Any = net.providers[0]
        with placed(net) as device:
            gptq = self.rounding == "gptq"
            batches = list(data.held_out(self.batches, device)) if gptq else []
            path = self.cache / f"{fingerprint(net, batches, repr((self.bits, self.group, self.rounding)))}.pt"
            if not path.exists():
                rank_zero_info(f"Quantisation at {listed(self.bits)} bits: {path}")
                for bits in provider.choices:
                    found = round_gptq(net, bits, self.group, batches) if gptq else round_nearest(net, bits, self.group)
                    provider.fill(bits, found)
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    torch.save(dict(provider.named_buffers()), temporary)
        provider.load_state_dict(torch.load(path, weights_only=True), strict=False)


def bits_space(space: SearchSpace, bits: Sequence[int]) -> SearchSpace:
    """Return the space whose one elastic dimension is the bit-width of each block.

    >>> plain = SearchSpace([Dimension("ffn", [32, 64], 2, "block")], [2])
    >>> found = bits_space(plain, [2, 4])
    >>> found.size(), found.min()
    (4, Subnet(ffn=[64, 64], bits=[2, 2]))
    """
    largest = space.restrict(**dict.fromkeys(space.dimensions.keys() - space.followers.keys(), "top1"))
    widths = Dimension("bits", list(bits), sum(space.stages), "block")
    return SearchSpace([*largest.dimensions.values(), widths], space.stages, largest.followers)
