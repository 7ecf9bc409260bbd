"""How the language models of transformers are made: which layers share channels, and their configuration."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import Tensor, nn

from wsn.errors import WsnError, listed
from wsn.supernet.couple import Coupling, Leaf
from wsn.supernet.leaves import Channels, set_parameter, shallow, take, take_channels

EMBED = "embed"  # the residual stream
BIASES = {
    "attention_bias": [f"self_attn.{name}_proj" for name in "qkvo"],
    "mlp_bias": [f"mlp.{name}_proj" for name in ("gate", "up", "down")],
}
"""Of Llama's configuration: which layers have a bias."""


class Llama:
    """How a network of transformers' Llama kind is made: Llama, SmolLM2, Mistral, Qwen2, Qwen3."""

    base, layers, embedding, norm = "model", "layers", "embed_tokens", "norm"
    outside = Coupling(("model.embed_tokens", "model.norm"), ("lm_head",), EMBED)
    inside = Coupling(
        ("input_layernorm", "post_attention_layernorm", "self_attn.o_proj", "mlp.down_proj"),
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"),
        EMBED,
    )
    ffn = Coupling(("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
    attention = "self_attn"

    def __init__(self, config: Any):
        heads = config.num_attention_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.group = heads // config.num_key_value_heads
        self.sizes = {"heads": heads, "embed_dim": config.hidden_size, "ffn": config.intermediate_size}
        wide, narrow = self.group * self.head_dim, self.head_dim
        self.heads = Coupling(
            (Leaf("self_attn.q_proj", wide), Leaf("self_attn.k_proj", narrow), Leaf("self_attn.v_proj", narrow)),
            (Leaf("self_attn.o_proj", wide),),
        )

    def attributes(self, heads: int) -> dict[str, int]:
        """Return the attributes of an attention with this many heads."""
        return {}

    def config(self, embed: int, heads: int, ffn: int) -> dict[str, int]:
        """Return the configuration of equal layers of these sizes."""
        return {
            "hidden_size": embed,
            "intermediate_size": ffn,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // self.group,
            "head_dim": self.head_dim,
        }

    def declare_biases(self, config: Any, layers: Sequence[nn.Module]) -> bool:
        """Say in a view's configuration which of its linear layers have a bias; those declared with them get zeros.

        Returns:
            whether the configuration can say it.
        """
        known = True
        for flag, names in BIASES.items():
            leaves: list[Any] = [
                getattr(layer.get_submodule(n), "base", None) or layer.get_submodule(n)
                for layer in layers
                for n in names
            ]
            added = leaves[-1].bias  # of the layer that reads pruned channels; equal layers all have it, or none
            if added is not None:
                known = known and hasattr(config, flag)
                setattr(config, flag, True)
                for leaf in leaves:
                    if leaf.bias is None:
                        set_parameter(leaf, "bias", added.new_zeros(leaf.out_features))
        return known

    def call(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run one layer on (1, 1, embed)."""
        angles = x.new_zeros(1, 1, self.head_dim)
        return residual_stream(layer(x, position_embeddings=(angles, angles)))


class GPT2:
    """How GPT-2 is made: fused query, key and value, learned positions, layer norms with biases."""

    base, layers, embedding, norm = "transformer", "h", "wte", "ln_f"
    outside = Coupling(("transformer.wte", "transformer.wpe", "transformer.ln_f"), ("lm_head",), EMBED)
    inside = Coupling(("ln_1", "ln_2", "attn.c_proj", "mlp.c_proj"), ("attn.c_attn", "mlp.c_fc"), EMBED)
    ffn = Coupling(("mlp.c_fc",), ("mlp.c_proj",))
    attention = "attn"
    group = 1

    def __init__(self, config: Any):
        self.head_dim = config.hidden_size // config.num_attention_heads
        ffn = config.n_inner or 4 * config.hidden_size
        self.sizes = {"heads": config.num_attention_heads, "embed_dim": config.hidden_size, "ffn": ffn}
        self.heads = Coupling((Leaf("attn.c_attn", self.head_dim, 3),), (Leaf("attn.c_proj", self.head_dim),))

    def attributes(self, heads: int) -> dict[str, int]:
        """Return the attributes of an attention with this many heads."""
        return {"num_heads": heads, "split_size": heads * self.head_dim, "embed_dim": heads * self.head_dim}

    def config(self, embed: int, heads: int, ffn: int) -> dict[str, int]:
        """Return the configuration of equal layers of these sizes."""
        return {"n_embd": embed, "n_head": heads, "n_inner": ffn}

    def declare_biases(self, config: Any, layers: Sequence[nn.Module]) -> bool:
        """Return that all linear layers have biases."""
        return True

    def call(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run one layer on (1, 1, embed)."""
        return residual_stream(layer(x))


def residual_stream(out: Any) -> Tensor:
    """Return the residual stream of what a layer puts out."""
    return out[0] if isinstance(out, tuple) else out


KINDS: dict[str, type] = {"llama": Llama, "mistral": Llama, "qwen2": Llama, "qwen3": Llama, "gpt2": GPT2}


def kind_of(config: Any) -> Any:
    """Return how the network of a configuration is made.

    Raises:
        WsnError: wsn does not know.
    """
    if config.model_type not in KINDS:
        raise WsnError(
            f"wsn does not narrow {config.model_type} models; it narrows {listed(KINDS)}. Take another "
            "backbone.model_dir"
        )
    return KINDS[config.model_type](config)


@cache
def teach_conv1d() -> None:
    """Teach :func:`take_channels` GPT-2's linear layer, whose weight is (in, out)."""
    from transformers.pytorch_utils import Conv1D

    @take_channels.register
    def _(leaf: Conv1D, out: Channels | None = None, into: Channels | None = None) -> Any:
        clone: Any = shallow(leaf)
        set_parameter(clone, "weight", take(take(leaf.weight, out, 1), into, 0))
        set_parameter(clone, "bias", take(leaf.bias, out, 0))
        clone.nx, clone.nf = clone.weight.shape
        return clone
