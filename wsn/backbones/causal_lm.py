"""Language models of transformers: elastic layers, heads, FFN and hidden size, from scratch or pretrained.

Source: which dimensions, Minitron, Muralidharan et al. 2024, arXiv:2407.14679, §2; AmoebaLLM, Fu et al. 2024,
arXiv:2411.10606 (any set of layers); MatFormer, Kudugunta et al. 2023, arXiv:2310.07707 (nested FFN).
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsn.backbones.causal_lm_kinds import KINDS, kind_of, residual_stream, teach_conv1d
from wsn.backbones.hugging_face import load_pretrained
from wsn.backbones.transformer import renumber, shares, transformer_space
from wsn.errors import WsnError, listed
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Segment, Supernet
from wsn.supernet.couple import Coupling, Leaf, couple
from wsn.supernet.leaves import set_parameter

PER_LAYER = ("heads", "ffn", "bits")
"""What a layer's choices are beside the hidden size; bits, where a method has added them."""


class CausalLMSupernet(Supernet):
    """A causal language model of transformers with elastic layers, hidden size, heads and FFN.

    The largest network is transformers' own, e.g. ``LlamaForCausalLM``; a subnet is the same class with fewer and
    narrower layers, so ``generate()`` with its cache, and ``save_pretrained()`` of an extracted one, work. Heads are
    kept in whole groups of query heads with their key and value head. RMS norms run over the kept channels.

    A subnet whose layers have equal sizes extracts to a checkpoint that ``AutoModelForCausalLM.from_pretrained``
    loads. Otherwise its layers are narrower than its ``config`` says: ``config.wsn_layers`` lists their sizes, and the
    module is saved with ``torch.save``, or run as it is.

    Args:
        model_dir: a folder of ``save_pretrained`` or of a GGUF file, or a name on the Hugging Face hub; None makes a
            new network of the sizes below.
        architecture: of a new network: ``llama``, ``gpt2``, ``qwen2``, ``qwen3``, ``mistral``.
        vocab_size: of a new network.
        num_layers: of a new network.
        hidden_size: of a new network.
        num_heads: of a new network.
        kv_heads: of a new network; key and value heads, which groups of query heads share.
        ffn_size: of a new network.
        context: longest sequence of a new network.
        tie_embeddings: of a new network; whether the head is the embedding.
        depth: choices of the number of kept layers.
        layers: in place of depth: which layers can be kept (1) or skipped (0); by default any set of them.
        keep: which layers a depth keeps, see :func:`wsn.backbones.transformer.transformer_space`.
        embed_dim: choices of the hidden size; by default three quarters and all; ``"full"``, here and of heads and
            ffn, leaves the network's own.
        heads: choices of the number of query heads, per layer; by default from half of the groups to all.
        ffn: choices of the FFN's units, per layer; by default a quarter, half and all.
        dropout: of a new network.

    Raises:
        WsnError: an architecture that wsn does not narrow, a folder that cannot be read, or choices beyond the network.
    """

    inputs = "text"

    def __init__(
        self,
        model_dir: str | Path | None = None,
        architecture: str = "llama",
        vocab_size: int = 256,
        num_layers: int = 4,
        hidden_size: int = 128,
        num_heads: int = 4,
        kv_heads: int | None = 2,
        ffn_size: int = 384,
        context: int = 1024,
        tie_embeddings: bool = True,
        depth: Any = None,
        layers: Any = None,
        keep: Any = "first",
        embed_dim: Any = None,
        heads: Any = None,
        ffn: Any = None,
        dropout: float = 0.0,
    ):
        teach_conv1d()
        if model_dir is None:
            sizes = (vocab_size, num_layers, hidden_size, num_heads, kv_heads, ffn_size, context)
            model = _new_model(architecture, *sizes, tie_embeddings, dropout)
        else:
            model = load_pretrained(model_dir)
        kind = kind_of(model.config)
        name, count = str(model_dir or architecture), model.config.num_hidden_layers
        space = _space(name, kind, count, depth, layers, keep, embed_dim, heads, ffn)
        super().__init__(model, space, 0, [f"{kind.base}.{kind.layers}.{i}" for i in range(count)])
        self.kind = kind
        self.tied = bool(model.config.tie_word_embeddings)
        _check_known(name, kind, model)

    def predict(self, view: nn.Module, inputs: Tensor, subnet: Subnet) -> Tensor:
        """Return logits (B, T, V) of tokens (B, T)."""
        return view(input_ids=inputs, use_cache=False).logits

    def hidden_states(self, view: Any, inputs: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return the residual stream after some layers of a view, from one forward.

        Args:
            view: a view, whose own hooks are used.
            inputs: tokens (B, T).
            layers: numbers of layers, ascending, 1 for after the first.

        Returns:
            for each (B, T, embed_dim), before the final norm.
        """
        found: dict[int, Tensor] = {}
        base = view._modules[self.kind.base]
        blocks = list(base._modules[self.kind.layers].children())

        def keep(number: int) -> Callable[[nn.Module, Any, Any], None]:
            def hook(layer: nn.Module, args: Any, out: Any) -> None:
                found[number] = residual_stream(out)

            return hook

        handles = [blocks[n - 1].register_forward_hook(keep(n)) for n in layers]
        base(input_ids=inputs, use_cache=False)
        for handle in handles:
            handle.remove()
        return [found[n] for n in layers]

    def head(self, view: Any) -> Callable[[Tensor], Tensor]:
        """Return the function from the residual stream (..., embed_dim) to logits (..., V): final norm and head."""
        norm, lm_head = view._modules[self.kind.base]._modules[self.kind.norm], view.lm_head
        return lambda hidden: lm_head(norm(hidden))

    def reads(self, path: str) -> Reads:
        layer = [(name, int(path.rpartition(".")[2])) for name in PER_LAYER if path and name in self.space.dimensions]
        return [("embed_dim", 0), *layer]

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            return {self.kind.outside: choice[0]}
        embed, heads, ffn = choice[:3]
        return {self.kind.inside: embed, self.kind.heads: heads // self.kind.group, self.kind.ffn: ffn}

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        view = couple(self.model.get_submodule(path), self.widths(path, choice))
        attention: Any = view._modules[self.kind.attention]
        for name, value in self.kind.attributes(choice[1]).items():
            setattr(attention, name, value)
        return view

    def around(self, choice: BlockChoice) -> nn.Module:
        return self._tie(super().around(choice))

    def finish(self, view: Any, subnet: Subnet) -> nn.Module:
        self._tie(view)
        base = view._modules[self.kind.base]
        for i, layer in enumerate(renumber(base._modules[self.kind.layers]).children()):
            layer._modules[self.kind.attention].layer_idx = i  # type: ignore[union-attr]
        view.config = base.config = self._config(subnet)
        if len(self.providers) and not self.kind.declare_biases(view.config, base._modules[self.kind.layers]):
            view.config.wsn_layers = "biases"  # which this architecture's configuration does not have
        base.embed_dim = subnet["embed_dim"]
        return view

    def _tie(self, view: Any) -> nn.Module:
        if self.tied:
            embedding = view._modules[self.kind.base]._modules[self.kind.embedding]
            set_parameter(view._modules["lm_head"], "weight", embedding._parameters["weight"])
        return view

    def _config(self, subnet: Subnet) -> Any:
        """Return the configuration of a subnet."""
        config = copy.copy(self.model.config)
        kept = [at for _, _, at in self.space.kept(subnet)]
        layers = [{"heads": subnet["heads"][at], "ffn": subnet["ffn"][at]} for at in kept]
        largest = {name: max(layer[name] for layer in layers) for name in ("heads", "ffn")}
        for name, value in self.kind.config(subnet["embed_dim"], **largest).items():
            setattr(config, name, value)
        config.num_hidden_layers = len(kept)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[at] for at in kept]
        if not is_uniform(subnet):
            config.wsn_layers = layers
        return config

    def cache_size(self, subnet: Subnet) -> int:
        """Return how many values the cache of keys and values holds for one token."""
        heads = [subnet["heads"][at] // self.kind.group for _, _, at in self.space.kept(subnet)]
        return 2 * sum(heads) * self.kind.head_dim

    # -- cost, for one token ---------------------------------------------------------------------------

    def example(self, subnet: Subnet) -> Tensor:
        return torch.zeros(1, 1, dtype=torch.long, device="meta")

    def segments(self, subnet: Subnet) -> list[tuple[str, BlockChoice]]:
        around = self.outside(subnet)
        # All layers are alike: their cost depends on the choices alone.
        return [("stem", around), *(("layer", choice) for choice in self.blocks(subnet).values()), ("head", around)]

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        if name == "layer":
            holder: Any = nn.Module()
            holder.layer = self.narrow(f"{self.kind.base}.{self.kind.layers}.0", choice)
            return Segment(holder, ["layer"], lambda x: self.kind.call(holder.layer, x))
        m: Any = self.around(choice)
        base: Any = m._modules[self.kind.base]
        if name == "stem":
            return Segment(base, ["embed_tokens", "wte", "wpe"], base._modules[self.kind.embedding])
        counted: Any = nn.Module()
        counted.norm, counted.lm_head = base._modules[self.kind.norm], m.lm_head
        return Segment(counted, ["norm"] if self.tied else ["norm", "lm_head"], self.head(m))


def is_uniform(subnet: Subnet) -> bool:
    """Tell whether all kept layers of a language model have equal sizes."""
    return all(len({v for v in subnet[name] if v is not None}) == 1 for name in ("heads", "ffn"))


def _new_model(
    architecture: str, vocab_size: int, num_layers: int, hidden_size: int, num_heads: int, kv_heads: int | None,
    ffn_size: int, context: int, tie_embeddings: bool, dropout: float,
) -> Any:  # fmt: skip
    from transformers import AutoConfig, AutoModelForCausalLM

    if architecture not in KINDS:
        raise WsnError(f"architecture must be one of {listed(KINDS)}. Received {architecture!r}")
    if hidden_size % num_heads or num_heads % (kv_heads or num_heads):
        raise WsnError(
            f"hidden_size must be a multiple of num_heads, and that of kv_heads. Received {hidden_size}, {num_heads}, "
            f"{kv_heads}"
        )
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "num_hidden_layers": num_layers,
        "hidden_size": hidden_size,
        "num_attention_heads": num_heads,
        "max_position_embeddings": context,
        "tie_word_embeddings": tie_embeddings,
    }
    special: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    if architecture == "gpt2":
        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        config = AutoConfig.for_model(architecture, n_inner=ffn_size, **sizes, **special, **rates)
    else:
        config = AutoConfig.for_model(
            architecture, intermediate_size=ffn_size, num_key_value_heads=kv_heads or num_heads,
            head_dim=hidden_size // num_heads, attention_dropout=dropout, **sizes, **special,
        )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def _space(
    name: str, kind: Any, count: int, depth: Any, layers: Any, keep: Any, embed_dim: Any, heads: Any, ffn: Any
) -> SearchSpace:
    full = kind.sizes

    def choices(dimension: str, given: Any, fractions: Sequence[float], multiple: int) -> Any:
        return [full[dimension]] if given == "full" else given or shares(full[dimension], fractions, multiple)

    embeds = Dimension("embed_dim", choices("embed_dim", embed_dim, (0.75, 1.0), 8))
    head_counts = Dimension("heads", choices("heads", heads, (0.5, 0.75, 1.0), kind.group), count, "block")
    ffns = Dimension("ffn", choices("ffn", ffn, (0.25, 0.5, 1.0), 8), count, "block")
    for dimension in (embeds, head_counts, ffns):
        wrong = [c for c in dimension.choices if c[-1] != full[dimension.name]]
        if wrong:
            raise WsnError(
                f"{dimension.name}: the largest choice must be {name}'s {full[dimension.name]}. Received "
                f"{listed(wrong[0])}; end the choices with it"
            )
    odd = [h for choices in head_counts.choices for h in choices if h % kind.group]
    if odd:
        raise WsnError(
            f"heads: {name} shares each key and value head among {kind.group} query heads: take multiples of "
            f"{kind.group}. Received {odd[0]}"
        )
    return transformer_space([embeds, head_counts, ffns], count, depth, layers, keep)


def _check_known(name: str, kind: Any, model: Any) -> None:
    """Check that every parameter of a layer is narrowed, or does not depend on the choices."""
    layer = model.get_submodule(f"{kind.base}.{kind.layers}.0")
    couplings = (kind.inside, kind.heads, kind.ffn)
    leaves = {m.name if isinstance(m, Leaf) else m for c in couplings for m in (*c.out, *c.into)}
    for path, parameter in layer.named_parameters():
        if path.rpartition(".")[0] not in leaves and parameter.shape != (kind.head_dim,):
            raise WsnError(f"{name}: wsn does not know how to narrow {path} of its layers; take another model")


SUPERNETS = {
    "llama": CausalLMSupernet,
    "qwen2": partial(CausalLMSupernet, architecture="qwen2"),
    "qwen3": partial(CausalLMSupernet, architecture="qwen3"),
    "gpt2": partial(CausalLMSupernet, architecture="gpt2", kv_heads=None),
}
