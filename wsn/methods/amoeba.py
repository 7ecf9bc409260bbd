"""AmoebaLLM: one pretrained language model made into any shape of depth and width."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from wsn.backbones.causal_lm import CausalLMSupernet
from wsn.backbones.transformer import shape_space
from wsn.data.base import DataModule
from wsn.errors import WsnError
from wsn.importance.selection import Selected, Selection
from wsn.methods.base import Method
from wsn.providers.compensation import Compensation
from wsn.providers.quantised import GROUP, quantise_blocks
from wsn.space import SearchSpace
from wsn.supernet import Supernet
from wsn.supernet.couple import Coupling, couplings_by_leaf
from wsn.supernet.leaves import take

FFN_MULTIPLE = 8


class Amoeba(Method):
    """Select which layers and channels each shape keeps (stage 1), then fine-tune all shapes at once (stage 2).

    Stage 1 happens before training begins: layers for each depth, channels sorted by importance, and the biases
    that stand for pruned ones; results are kept in files. Stage 2 is the training: a sandwich of shapes, distillation
    from the largest, losses of equal magnitude, and LoRAs by shape on frozen weights.

    Args:
        *args: as for :class:`Method`.
        selection: of layers and channels.
        width: shares of the largest width, the last of them 1; one for all layers.
        compensate: whether pruned channels give their mean, as a bias (FLAP).
        lora: makes the trained weight provider of a supernet, the rest is frozen; None trains all weights.
        base: bits of the frozen weights, ``int8`` or ``int4``, see :mod:`wsn.providers.quantised`; None leaves them.
        **kwargs: as for :class:`Method`.

    Raises:
        WsnError: a backbone that is not a language model of which any set of layers is a subnet, or a base of few bits
            without LoRAs.

    Source: AmoebaLLM, Fu et al. 2024, arXiv:2411.10606; released code. Differs: all layers have the same width, where
    the released masks divide a width between layers and between heads and FFN by one threshold; heads are pruned in
    groups that share a key and value head, FFNs to multiples of 8 (of 32 in int4); the gate has no noise in evaluation.
    """

    def __init__(
        self,
        *args: Any,
        selection: Selection,
        width: Sequence[float],
        compensate: bool = True,
        lora: Callable[[Supernet], nn.Module] | None = None,
        base: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if base is not None and lora is None:
            raise WsnError(f"method.base={base} is frozen, so method.lora must not be null")
        self.selection = selection
        self.width = list(width)
        self.compensate = compensate
        self.lora = lora
        self.base = base

    def space(self, net: Supernet) -> SearchSpace:
        """Return the space of shapes; which layers a depth keeps is found by :meth:`begin`, until then the first."""
        if not isinstance(net, CausalLMSupernet) or "depth" in net.space.dimensions:
            raise WsnError(
                "method=amoeba takes a language model and chooses its layers itself. Set backbone=llama (or gpt2), "
                "backbone.depth=null, and data=shakespeare or data=text"
            )
        count = len(net.space.dimensions["layers"])
        depths = range(self.selection.settings.smallest(count), count + 1)
        return self._shapes(net, net.space, self.selection.kept() or {n: list(range(n)) for n in depths})

    def wrap(self, net: Supernet) -> Supernet:
        """Return the network with its weight providers."""
        if self.compensate:
            net.providers.append(Compensation(net))
        if self.lora is not None:
            net.model.requires_grad_(False)
            net.providers.append(self.lora(net))
        return super().wrap(net)

    def begin(self, net: Supernet, data: DataModule) -> None:
        """Select layers and channels, sort the channels, fill the biases, quantise the base."""
        assert isinstance(net, CausalLMSupernet)
        with net.bare() as plain:
            chosen = self.selection(net, data)
            order = _orders(net, chosen)
            net.permute_channels(order)
        net.space = self._shapes(net, plain, chosen.keep)
        for provider in net.providers:
            if isinstance(provider, Compensation):
                provider.fill(net, _sorted_means(chosen.means, order))
        if self.base is not None:
            quantise_blocks(net, self.base)

    def _shapes(self, net: CausalLMSupernet, plain: SearchSpace, keep: Mapping[int, Sequence[int]]) -> SearchSpace:
        units = {"heads": net.kind.group, "ffn": GROUP if self.base == "int4" else FFN_MULTIPLE}
        return shape_space(plain, keep, self.width, units)


def _orders(net: Supernet, chosen: Selected) -> dict[str, dict[Coupling, Tensor]]:
    """Return the stored permutations by coupling."""
    largest = net.space.max()
    widths = {"": net.widths("", net.outside(largest))}
    widths.update((path, net.widths(path, choice)) for path, choice in net.blocks(largest).items())
    return {path: dict(zip(found, chosen.order[path], strict=True)) for path, found in widths.items()}


def _sorted_means(means: Mapping[str, Tensor], order: Mapping[str, Mapping[Coupling, Tensor]]) -> dict[str, Tensor]:
    """Return the mean inputs of layers in the new order of their channels."""
    found = dict(means)
    for path, permutations in order.items():
        for name, channels in couplings_by_leaf(tuple(permutations.items())).items():
            full = f"{path}.{name}" if path else name
            if full in found:
                found[full] = take(found[full], channels.get("into"), 0)
    return found
