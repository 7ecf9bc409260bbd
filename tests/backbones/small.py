"""A small supernet of every backbone in conf/backbone, for the contract."""

from functools import partial

import torch

import wsn

LLM = {"vocab_size": 32, "num_layers": 3, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "context": 32}
STAGEWISE = {"num_classes": 5, "resolution": [32, 48], "reduction": 16}

SMALL = {
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
    "llama": partial(wsn.create_supernet, "llama", kv_heads=2, **LLM),
    "gpt2": partial(wsn.create_supernet, "gpt2", **LLM),
}
MORE = {
    "qwen2": partial(wsn.create_supernet, "qwen2", kv_heads=2, **LLM),
    "qwen3": partial(wsn.create_supernet, "qwen3", kv_heads=2, tie_embeddings=False, **LLM),
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
