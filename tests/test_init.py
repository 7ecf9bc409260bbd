"""Initialisation: weight selection against the paper's rule, importance scores against their definitions."""

import pytest
import timm
import torch
from torch import nn

import wsn
from wsn.importance import flap, magnitude, taylor, wanda
from wsn.init import he_fan_out, weight_selection

VIT = {"embed_dim": [96, 192], "depth": [2], "num_classes": 5, "resolution": 32, "patch_size": 8}


def by_the_released_rule(tensor, shape):
    """OscarXZQ/weight-selection, in other words: every k-th element, or rounded even spacing."""
    for dim, size in enumerate(shape):
        larger = tensor.shape[dim]
        at = [i * (larger // size) for i in range(size)]
        if larger % size:
            at = [round(i * (larger - 1) / (size - 1)) for i in range(size)] if size > 1 else [0]
        tensor = tensor.index_select(dim, torch.tensor(at))
    return tensor


@pytest.mark.parametrize("selection", ["uniform", "consecutive"])
def test_weight_selection(selection):
    torch.manual_seed(0)
    larger = timm.create_model("vit_small_patch16_224", img_size=32, patch_size=8, num_classes=5)
    net = wsn.create_supernet("vit", **VIT)
    head = net.model.head.weight.clone()
    weight_selection(net, larger, selection)
    source = larger.state_dict()
    for name, tensor in net.model.state_dict().items():
        if name.startswith("head."):
            continue
        expected = (
            by_the_released_rule(source[name], tensor.shape)
            if selection == "uniform"
            else source[name][tuple(slice(n) for n in tensor.shape)]
        )
        assert torch.equal(tensor, expected), name
    assert torch.equal(net.model.head.weight, head)


def test_weight_selection_mistakes():
    net = wsn.create_supernet("vit", **VIT)
    with pytest.raises(wsn.WsnError, match="uniform or consecutive"):
        weight_selection(net, nn.Linear(1, 1), "first")
    with pytest.raises(wsn.WsnError, match="family"):
        weight_selection(net, nn.Linear(1, 1))


def test_transformers_keep_their_initialisation():
    net = wsn.create_supernet("vit", **VIT)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    he_fan_out(net)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_scores_by_their_definitions(mlp):
    x = torch.randn(10, 3)
    hidden = mlp[1](mlp[0](x)).detach()
    weight = mlp[2].weight.detach()
    torch.testing.assert_close(magnitude(mlp)("2"), weight.abs().sum(0))
    torch.testing.assert_close(magnitude(mlp, p=2)("2"), weight.norm(dim=0))
    batches = [x[:4], x[4:]]
    torch.testing.assert_close(wanda(mlp, batches)("2"), weight.abs().sum(0) * hidden.norm(dim=0))
    torch.testing.assert_close(flap(mlp, batches)("2"), hidden.var(0) * weight.square().sum(0))


def test_taylor_predicts_what_removing_a_channel_costs(mlp):
    x = torch.randn(10, 3)

    def loss(model, batch):
        return 1e-3 * model(batch).square().mean()

    score = taylor(mlp, [x], loss)("2")
    loss(mlp, x).backward()
    first_order = (mlp[2].weight * mlp[2].weight.grad).sum(0).square()
    torch.testing.assert_close(score, first_order.detach())


def test_scores_of_convolutions_and_transposed_layers():
    conv = nn.Sequential(nn.Conv2d(3, 5, 3))
    x = torch.randn(4, 3, 8, 8)
    expected = conv[0].weight.abs().sum((0, 2, 3)) * x.square().sum((0, 2, 3)).sqrt()
    torch.testing.assert_close(wanda(conv, [x])("0"), expected.detach())
    gpt2 = wsn.create_supernet("gpt2", num_layers=1, hidden_size=16, num_heads=2, ffn_size=32)
    score = magnitude(gpt2.model)("transformer.h.0.mlp.c_proj")
    torch.testing.assert_close(score, gpt2.model.transformer.h[0].mlp.c_proj.weight.abs().sum(1).detach())


@pytest.mark.parametrize("name", ["vit", "llama"])
def test_units_sorted_by_activations_are_better_than_the_reverse(name):
    """Narrow subnets of a network with dead units lose nothing if sorting finds the dead ones."""
    torch.manual_seed(0)
    if name == "vit":
        net = wsn.create_supernet("vit", mlp_ratio=[2.0, 4.0], **VIT).eval()
        x, path = torch.randn(4, 3, 32, 32), "blocks.{}.mlp.fc2"
    else:
        net = wsn.create_supernet("llama", hidden_size=32, num_heads=2, kv_heads=1, ffn_size=64, num_layers=2).eval()
        x, path = torch.randint(0, 256, (4, 9)), "model.layers.{}.mlp.down_proj"
    with torch.no_grad():
        for i in range(2):
            layer = net.model.get_submodule(path.format(i))
            layer.weight[:, ::2] *= 1e-6  # half of the units, spread out
    small = net.space.subnet(mlp_ratio=2.0) if name == "vit" else net.space.subnet(ffn=32)

    def error():
        with torch.no_grad():
            full, cut = net(x), net(x, small)
        full, cut = (o if isinstance(o, torch.Tensor) else o.logits for o in (full, cut))
        return (full - cut).norm() / full.norm()

    before = error()
    net.order_channels(score=wanda(net.model, [x]))
    assert error() < 1e-3 < before
