import json
from pathlib import Path

import pytest
import torch
from torch import nn

import wsn

ROWS = json.loads((Path(__file__).parent / "assets" / "ofa_mbv3_w1.0_measured.json").read_text())["rows"][:36]
FLOPS_389M = {
    "kernel": [3, 3, 3, 3, 5, 5, 3, 3, 5, 5, 3, 3, 5, 5, 3, 3, 3, 3, 7, 3],
    "expand": [3, 3, 3, 3, 3, 6, 3, 3, 4, 4, 3, 3, 6, 4, 4, 4, 6, 6, 6, 3],
    "depth": [2, 3, 3, 4, 4],
}
SMALLEST = {"kernel": 3, "expand": 3, "depth": 2}


@pytest.fixture(scope="module")
def ofa():
    return {w: wsn.create_supernet("mobilenet", width_mult=w) for w in (1.0, 1.2)}


@pytest.mark.parametrize(
    ("width", "choices", "params", "macs"),
    [
        (1.0, {}, 7_664_760, 566.171e6),
        (1.0, {"kernel": 5, "expand": 4, "depth": 3}, 4_551_792, 250.747e6),
        (1.0, SMALLEST, 3_410_792, 121.279e6),
        (1.2, {}, 10_701_632, 843.101e6),
        (1.2, SMALLEST, 4_602_456, 193.078e6),
        (1.2, FLOPS_389M, 8_386_544, 389.487872e6),
    ],
)
def test_published_networks(ofa, width, choices, params, macs):
    net = ofa[width]
    subnet = net.space.subnet(**choices, resolution=224)
    cost = wsn.cost(net, subnet)
    assert cost.params == params == sum(p.numel() for p in net.extract(subnet).parameters())
    assert cost.macs == pytest.approx(macs, abs=1000)  # the table's rounding


def test_measured_subnets(ofa):
    net = ofa[1.0]
    for row in ROWS:
        subnet = net.space.subnet(kernel=row["ks"], expand=row["e"], depth=row["d"], resolution=row["r"])
        assert wsn.cost(net, subnet) == wsn.Cost(macs=row["macs"], params=row["params"])


def count_by_hooks(module, x):
    """Count multiply-adds another way: output size times fan-in of each convolution and linear layer."""
    macs = 0

    def hook(layer, _, out):
        nonlocal macs
        fan_in = layer.weight[0].numel()
        macs += out[0].numel() * fan_in

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module(x)
    return macs


def test_cost_equals_counting_on_the_extracted_module(net, rng):
    for _ in range(8):
        subnet = net.space.sample(rng)
        plain = net.extract(subnet)
        x = torch.randn(1, 1, subnet.resolution, subnet.resolution)
        cost = wsn.cost(net, subnet)
        assert cost.macs == count_by_hooks(plain, x)
        assert cost.params == sum(p.numel() for p in plain.parameters())


def test_the_supernet_is_left_alone(net):
    wsn.cost(net, net.space.min())
    assert all(p.device.type == "cpu" for p in net.parameters())


def test_resolutions_beyond_the_default():
    net = wsn.create_supernet("mobilenet", width_mult=1.2, resolution=range(128, 292, 4))
    assert net.space.max().resolution == 288
    a, b = (wsn.cost(net, net.space.subnet(resolution=r)).macs for r in (224, 256))
    assert a < b


def test_a_subnet_of_another_space_is_refused(net, ofa):
    with pytest.raises(wsn.WsnError, match="not of the supernet's space"):
        wsn.cost(net, ofa[1.0].space.max())
