"""Small supernets: of every backbone in conf/backbone, one for training, and language models for routers."""

from functools import partial

import torch

import wsn
from wsn.backbones.transformer import shape_space

TINY_LLM = {"vocab_size": 32, "num_layers": 3, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "context": 32}
STAGEWISE = {"num_classes": 5, "resolution": [32, 48], "reduction": 16}

BACKBONES = {
    "mobilenet": partial(wsn.create_supernet, "mobilenet", num_classes=5, width_mult=0.25, resolution=[32, 48]),
    "proxyless": partial(wsn.create_supernet, "proxyless", num_classes=5, width_mult=0.25, resolution=[32, 48]),
    "attentive_mobilenet": partial(
        wsn.create_supernet,
        "attentive_mobilenet",
        width=[[8, 16], [8, 16], [16, 24], [24, 32], [32, 40], [40, 48], [48, 64], [64, 72], [64, 96]],
        depth=[[1, 2], [1, 2], [2, 3], [1, 2], [1, 2], [1, 2], [1, 2]],
        **STAGEWISE,
    ),
    "bignas_mobilenet": partial(
        wsn.create_supernet,
        "bignas_mobilenet",
        width=[[16, 24], [8, 16], [16, 24], [24, 32], [32, 40], [40, 48], [48, 64], [64, 72], [64, 96]],
        depth=[[1, 2], [1, 2], [2, 3], [1, 2], [1, 2], [1, 2], [1, 2]],
        **STAGEWISE,
    ),
    "resnet50": partial(
        wsn.create_supernet,
        "resnet50",
        num_classes=5,
        width_mult=0.125,
        depth=[[0, 1], [1, 2], [1, 2], [2, 3], [1, 2]],
        resolution=[32, 48],
    ),
    "autoformer": partial(
        wsn.create_supernet,
        "autoformer_tiny",
        num_classes=5,
        depth=[2, 3],
        embed_dim=[48, 64],
        heads=[1, 2],
        patch_size=[8, 16],
        resolution=[32, 48],
    ),
    "vit": partial(
        wsn.create_supernet,
        "vit",
        num_classes=5,
        depth=[2, 3, 12],
        keep="spread",
        embed_dim=[96, 192],
        patch_size=[8, 16],
        resolution=[32, 48],
    ),
    "deit": partial(
        wsn.create_supernet,
        "deit",
        model="deit_tiny_distilled_patch16_224",
        num_classes=5,
        layers=[[1], *[[0, 1]] * 11],
        embed_dim=[96, 192],
        resolution=[32, 48],
    ),
    "timm_cnn": partial(wsn.create_supernet, "timm_cnn", model="regnety_002", num_classes=5, resolution=[32, 48]),
    "slimmable_mobilenetv2": partial(wsn.create_supernet, "slimmable_mobilenetv2", num_classes=5, resolution=[32, 48]),
    "llama": partial(wsn.create_supernet, "llama", kv_heads=2, **TINY_LLM),
    "gpt2": partial(wsn.create_supernet, "gpt2", **TINY_LLM),
}
MORE_BACKBONES = {
    "qwen2": partial(wsn.create_supernet, "qwen2", kv_heads=2, **TINY_LLM),
    "qwen3": partial(wsn.create_supernet, "qwen3", kv_heads=2, tie_embeddings=False, **TINY_LLM),
    **{
        model: partial(wsn.create_supernet, "timm_cnn", model=model, num_classes=5, resolution=[32, 48])
        for model in ("efficientnet_lite0", "mobilenetv4_conv_small", "convnextv2_atto", "resnet18")
    },
}


def example(net, subnet, batch=2):
    """Return an input of a subnet."""
    if "resolution" not in subnet:
        return torch.randint(0, net.model.config.vocab_size, (batch, 7))
    return torch.randn(batch, net.in_chans, subnet.resolution, subnet.resolution)


def outputs(out):
    """Return the logits of a network of timm or transformers."""
    return out if isinstance(out, torch.Tensor) else out.logits


@torch.no_grad()
def randomise(net):
    """Move every parameter and statistic off its initial value, so that a mix-up cannot hide."""
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net


def make_net():
    """Return a supernet of small images, four classes, as it is initialised."""
    torch.manual_seed(0)
    return wsn.create_supernet(
        "mobilenet", num_classes=4, in_chans=1, width_mult=0.25, resolution=[16, 24], reduction=8
    )


# -- language models whose subnets are masked as well as sliced ------------------------------------------

LLM_OF_ROUTERS = {"vocab_size": 32, "num_layers": 3, "hidden_size": 32, "num_heads": 4, "ffn_size": 48, "context": 32}
ROUTED = {
    "llama": ("llama", {"kv_heads": 2, "embed_dim": [16, 24, 32]}),
    "untied": ("llama", {"kv_heads": 4, "embed_dim": [16, 32], "tie_embeddings": False}),
    "depth": ("llama", {"kv_heads": 2, "depth": [1, 2, 3], "keep": {1: [2], 2: [0, 2], 3: [0, 1, 2]}}),
    "qwen2": ("qwen2", {"kv_heads": 2, "embed_dim": [16, 32]}),  # biases of queries, keys and values
    "qwen3": ("qwen3", {"kv_heads": 2, "embed_dim": [16, 32]}),  # norms of each head
    "gpt2": ("gpt2", {"embed_dim": [16, 32]}),  # layer norms, biases, learned positions
}


def make_llm(name, **more):
    """Return a language model with random weights, by its name in :data:`ROUTED`."""
    torch.manual_seed(0)
    architecture, options = ROUTED[name]
    return randomise(wsn.create_supernet(architecture, **{**LLM_OF_ROUTERS, **options, **more})).eval()


def make_shapes():
    """Return a Llama whose heads and FFN follow one width and whose layers follow a depth."""
    net = make_llm("llama")
    keep = {1: [0], 2: [0, 2], 3: [0, 1, 2]}
    net.space = shape_space(net.space, keep, [0.5, 1.0], {"heads": 2, "ffn": 8})
    return net


def tokens(count=3):
    """Return sequences (B, T) for them, the same each time."""
    return torch.randint(0, 32, (count, 9), generator=torch.Generator().manual_seed(1))


def logits(model, inputs):
    """Return the logits (B, T, V) of a language model."""
    return model(input_ids=inputs, use_cache=False).logits
