"""The contract of every backbone: what holds for one holds for all."""

import random
from pathlib import Path

import pytest
import torch
from helpers.nets import BACKBONES, MORE_BACKBONES, example, outputs, randomise
from safetensors.torch import load_model, save_model
from torch import nn

import wsn
from wsn.space import SearchSpace

CONF = Path(__file__).parents[2] / "conf" / "backbone"
ALL = {**BACKBONES, **MORE_BACKBONES}
SORTED = [name for name in ALL if name != "slimmable_mobilenetv2"]
MADE = {}


@pytest.fixture
def backbone(request):
    """A small supernet in evaluation mode; made once."""
    name = request.param
    if name not in MADE:
        torch.manual_seed(0)
        MADE[name] = randomise(ALL[name]()).eval()
    return MADE[name]


def every(names):
    """Run a test on these backbones; those of MORE_BACKBONES are for ``-m slow``."""
    cases = [pytest.param(name, marks=pytest.mark.slow if name in MORE_BACKBONES else ()) for name in names]
    return pytest.mark.parametrize("backbone", cases, indirect=True)


def test_every_yaml_is_held_to_the_contract():
    same = {"autoformer_small": "autoformer", "autoformer_base": "autoformer", "slimmable": "slimmable_mobilenetv2"}
    assert {same.get(p.stem, p.stem) for p in CONF.glob("*.yaml")} <= set(ALL)


def count(module, x):
    """Count multiply-adds by hooks: output size times fan-in of each convolution and linear layer."""
    macs = 0

    def hook(layer, _, out):
        nonlocal macs
        transposed = type(layer).__name__ == "Conv1D"
        macs += out[0].numel() * (layer.nx if transposed else layer.weight[0].numel())

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) or type(layer).__name__ == "Conv1D":
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module(x)
    return macs


@every(ALL)
@pytest.mark.parametrize("many", [20, pytest.param(50, marks=pytest.mark.slow)])
def test_views_are_extracted_networks_and_costs_are_counted(backbone, many):
    """Random subnets: the same logits bit for bit, the same costs; their JSON round trip."""
    net, rng = backbone, random.Random(1)
    space = SearchSpace.from_json(net.space.to_json())
    assert space == net.space
    for i in range(many):
        subnet = net.space.sample(rng, size_bias=rng.random())
        assert subnet in space
        assert wsn.cost(net, subnet).params > 0
        if i % 5:  # the shapes alone
            continue
        x, plain = example(net, subnet), net.extract(subnet)
        assert type(plain) is type(net.model)
        with torch.no_grad():
            assert torch.equal(outputs(net.view(subnet)(x)), outputs(plain(x)))
        cost = wsn.cost(net, subnet)
        assert cost.params == sum(p.numel() for p in plain.parameters())
        assert cost.macs == count(plain, x[:1] if "resolution" in subnet else x[:1, :1])


@every(ALL)
def test_the_largest_is_the_librarys_network(backbone):
    net, largest = backbone, backbone.space.max()
    x = example(net, largest)
    with torch.no_grad():
        assert torch.equal(outputs(net(x)), outputs(net.model(x)))
        assert torch.equal(outputs(net(x)), outputs(net(x, largest)))
    assert {k: v.shape for k, v in net.extract(largest).state_dict().items()} == {
        k: v.shape for k, v in net.model.state_dict().items()
    }
    assert type(net.model).__module__.startswith(("timm.", "transformers."))


@every(ALL)
def test_only_what_a_subnet_has_gets_gradients(backbone):
    """The gradient of the shared tensors is the extracted network's, spread out; the rest is zero."""
    net, subnet = backbone, backbone.space.min()
    x, plain = example(net, subnet), net.extract(subnet)
    outputs(plain(x)).square().sum().backward()
    net.zero_grad()
    outputs(net(x, subnet)).square().sum().backward()
    theirs = sum(float(p.grad.double().square().sum()) for p in plain.parameters() if p.grad is not None)
    shared = [p for p in net.model.parameters() if p.grad is not None]
    entries = sum(int((p.grad != 0).sum()) for p in shared)
    assert entries <= sum(p.numel() for p in plain.parameters()) or "resolution" in subnet
    if subnet.get("patch_size") is None and subnet.get("resolution") == net.space.max().get("resolution"):
        ours = sum(float(p.grad.double().square().sum()) for p in shared)
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert entries < sum(p.numel() for p in net.model.parameters())
    net.zero_grad()


@every(SORTED)
def test_ordering_keeps_the_largest_and_what_is_trained(backbone):
    net, rng = backbone, random.Random(2)
    free = [n for n in net.space.dimensions if n not in ("depth", "layers", "resolution", "patch_size", "kernel")]
    trained = net.space.restrict(**dict.fromkeys(free, "top2"))
    largest, member = net.space.max(), trained.sample(rng)
    x, y = example(net, largest), example(net, member)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        before, kept = outputs(net(x)), outputs(net(y, member))
        net.order_channels(keep=trained)
        for now, then in ((outputs(net(x)), before), (outputs(net(y, member)), kept)):
            torch.testing.assert_close(now, then, rtol=2e-4, atol=2e-4 * float(then.abs().max()))
        order = net.order_channels()
        torch.testing.assert_close(outputs(net(x)), before, rtol=2e-4, atol=2e-4 * float(before.abs().max()))
    moved = [i for group in order.values() for i in group.values() if not torch.equal(i, torch.arange(len(i)))]
    assert moved
    net.load_state_dict(state)


@every(ALL)
def test_safetensors_round_trip(backbone, tmp_path):
    subnet = backbone.space.middle()
    plain, other = backbone.extract(subnet), backbone.extract(subnet)
    save_model(plain, str(tmp_path / "subnet.safetensors"))
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    load_model(other, str(tmp_path / "subnet.safetensors"))
    x = example(backbone, subnet)
    with torch.no_grad():
        assert torch.equal(outputs(plain(x)), outputs(other(x)))


@pytest.mark.slow
@every(ALL)
def test_torch_export(backbone):
    subnet = backbone.space.sample(random.Random(3))
    x, plain = example(backbone, subnet), backbone.extract(subnet)
    kwargs = {} if "resolution" in subnet else {"use_cache": False}
    with torch.no_grad():
        exported = torch.export.export(plain, (x,), kwargs, strict=False).module()
        torch.testing.assert_close(outputs(exported(x, **kwargs)), outputs(plain(x, **kwargs)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@every(ALL)
def test_fifty_views(backbone):
    net, rng = backbone, random.Random(4)
    for _ in range(50):
        subnet = net.space.sample(rng)
        x = example(net, subnet)
        with torch.no_grad():
            assert torch.equal(outputs(net.view(subnet)(x)), outputs(net.extract(subnet)(x)))
