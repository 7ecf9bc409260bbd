"""Published numbers of parameters and multiply-adds, and errors for what is not supported."""

import pytest
import torch

import wsn

ATTENTIVE = {  # AttentiveNAS's released configs (eval_attentive_nas_models.yml) and MFLOPs of its README
    "a0": {
        "resolution": 192,
        "width": [16, 16, 24, 32, 64, 112, 192, 216, 1792],
        "kernel": [3, 3, 3, 3, 3, 3, 3],
        "expand": [1, 4, 4, 4, 4, 6, 6],
        "depth": [1, 3, 3, 3, 3, 3, 1],
    },
    "a2": {
        "resolution": 224,
        "width": [16, 16, 24, 32, 64, 112, 200, 224, 1984],
        "kernel": [3, 3, 3, 3, 3, 5, 3],
        "expand": [1, 4, 5, 4, 4, 6, 6],
        "depth": [1, 3, 3, 3, 3, 4, 1],
    },
    "a4": {
        "resolution": 256,
        "width": [16, 16, 24, 32, 64, 112, 192, 216, 1984],
        "kernel": [3, 3, 3, 5, 3, 5, 3],
        "expand": [1, 4, 4, 5, 4, 6, 6],
        "depth": [1, 3, 3, 4, 3, 5, 1],
    },
    "a6": {
        "resolution": 288,
        "width": [16, 16, 24, 32, 64, 112, 216, 224, 1984],
        "kernel": [3, 3, 3, 3, 3, 5, 3],
        "expand": [1, 4, 6, 5, 4, 6, 6],
        "depth": [1, 3, 3, 4, 4, 6, 1],
    },
}
T_SEARCHED = {
    "depth": 13,
    "embed_dim": 192,
    "heads": [3] * 10 + [4, 3, 3],
    "mlp_ratio": [3.5, 3.5, 3, 3.5, 3, 3, 4, 4, 3.5, 4, 3.5, 4, 3.5],
}
S_SEARCHED = {
    "depth": 13,
    "embed_dim": 384,
    "heads": [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7],
    "mlp_ratio": [3, 3.5, 3, 3.5, 4, 4, 4, 4, 4, 4, 4, 3.5, 4],
}


def meta(name, **kwargs):
    with torch.device("meta"):
        return wsn.create_supernet(name, **kwargs)


@pytest.fixture(scope="module")
def attentive():
    return meta("attentive_mobilenet")


@pytest.mark.parametrize(
    ("config", "macs", "params"),
    [("a0", 203_389_568, 9_064_648), ("a2", 317e6, None), ("a4", 444e6, None), ("a6", 709_007_232, 15_441_448)],
)
def test_attentive_nas(attentive, config, macs, params):
    cost = wsn.cost(attentive, attentive.space.subnet(**ATTENTIVE[config]))
    assert cost.macs == pytest.approx(macs, rel=0 if params else 2e-3)
    assert params is None or cost.params == params


def test_attentive_nas_largest(attentive):
    assert wsn.cost(attentive, attentive.space.max()).macs == 1_939_335_808
    assert len(attentive.space.max().width) == 9
    assert len(attentive.space.max().kernel) == 7


@pytest.mark.parametrize(
    ("name", "subnet", "params", "macs"),
    [
        ("proxyless", "max", 7_942_056, 1004.908e6),
        ("proxyless", "min", 3_718_832, 265.526e6),
        ("resnet50", "max", 48_105_992, 7491.642e6),
        ("resnet50", "min", 6_539_280, 962.192e6),
    ],
)
def test_once_for_all(name, subnet, params, macs):
    net = meta(name, resolution=224)
    cost = wsn.cost(net, getattr(net.space, subnet)())
    assert cost.params == params
    assert cost.macs == pytest.approx(macs, abs=2500)  # the table's rounding


@pytest.mark.parametrize(
    ("size", "choices", "params", "rel"),
    [("tiny", T_SEARCHED, 5_867_944, 0), ("small", S_SEARCHED, 22.9e6, 2e-3)],
)
def test_autoformer_searched(size, choices, params, rel):
    net = meta(f"autoformer_{size}")
    assert wsn.cost(net, net.space.subnet(**choices)).params == pytest.approx(params, rel=rel)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("vit", {"model": "swin_tiny_patch4_window7_224"}, ["SwinTransformer", "backbone.model="]),
        ("vit", {"model": "vit_tiny_patch16_999"}, ["timm has no model", "list_models"]),
        ("vit", {"resolution": 30}, ["multiple of patch_size", "backbone.resolution"]),
        ("vit", {"depth": [13, 99], "model": "vit_tiny_patch16_224", "layers": [0, 1]}, ["either depth", "layers"]),
        ("timm_cnn", {"model": "vgg11"}, ["no blocks", "efficientnet_lite0"]),
        ("timm_cnn", {"expand": [0.5]}, ["end at 1"]),
        ("timm_cnn", {"pretrained": "/no/such/file.pth"}, ["no file"]),
        ("resnet50", {"reduction": 5}, ["reduction", "5"]),
        ("llama", {"heads": [3, 4]}, ["multiples of 2", "3"]),
        ("llama", {"ffn": [64]}, ["largest choice", "384"]),
        ("llama", {"architecture": "rwkv"}, ["architecture", "rwkv", "qwen2"]),
        ("llama", {"model_dir": "/no/such/folder"}, ["model_dir", "save_pretrained"]),
        ("llama", {"depth": [2, 4], "keep": {2: [0, 9]}}, ["keep", "9"]),
    ],
)  # fmt: skip
def test_helpful_errors(name, kwargs, words):
    with pytest.raises(wsn.WsnError) as error:
        wsn.create_supernet(name, **kwargs)
    assert all(word in str(error.value) for word in words)
