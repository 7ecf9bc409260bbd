"""Slimmable backbones against timm's own narrow networks."""

import pytest
import timm
import torch
from helpers.nets import randomise

import wsn
from wsn.cost_models.macs import count_macs
from wsn.errors import WsnError


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75])
def test_narrow_mobilenetv2_is_timms(width):
    """timm has no 0.35 and 0.75: its channel multiplier makes them."""
    net = wsn.create_supernet("slimmable_mobilenetv2", width=[width, 1.0], resolution=224)
    subnet = net.space.subnet(width=width)
    theirs = timm.create_model("mobilenetv2_050" if width == 0.5 else "mobilenetv2_100")
    if width != 0.5:
        from timm.models.efficientnet import _gen_mobilenet_v2

        theirs = _gen_mobilenet_v2("mobilenetv2_100", width)
    assert wsn.cost(net, subnet).params == sum(p.numel() for p in theirs.parameters())
    with torch.device("meta"):
        macs, _ = count_macs(theirs.to("meta").eval(), torch.empty(1, 3, 224, 224))
    assert wsn.cost(net, subnet).macs == macs
    assert {k: v.shape for k, v in net.extract(subnet).state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.parametrize("model", ["mobilenetv3_small_050", "resnet18", "efficientnet_lite0", "mobilenetv1_100"])
def test_any_plain_cnn(model, rng):
    net = wsn.create_supernet("slimmable", model=model, num_classes=5, width=[0.25, 0.5, 0.8, 1.0], resolution=[32, 64])
    randomise(net).eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(net(x), net.model(x))
    for _ in range(3):
        subnet = net.space.sample(rng)
        plain = net.extract(subnet).eval()
        assert torch.equal(net.view(subnet)(x), plain(x))
        assert wsn.cost(net, subnet).params == sum(p.numel() for p in plain.parameters())
    costs = [wsn.cost(net, net.space.subnet(width=w, resolution=64)).macs for w in (0.25, 0.5, 0.8, 1.0)]
    assert costs == sorted(costs)


def test_gradients_reach_the_first_channels_only():
    net = wsn.create_supernet("slimmable", model="mobilenetv2_050", width=[0.5, 1.0], resolution=32)
    net.train()(torch.randn(2, 3, 32, 32), net.space.min()).sum().backward()
    conv = net.model.blocks[2][0].conv_pw.weight
    kept = net.view(net.space.min()).blocks[2][0].conv_pw
    assert conv.grad[: kept.out_channels, : kept.in_channels].abs().sum() > 0
    assert conv.grad[kept.out_channels :].abs().sum() == conv.grad[:, kept.in_channels :].abs().sum() == 0


def test_mistakes():
    for kwargs, words in [
        ({"model": "mobilenetv9"}, "mobilenetv9"),
        ({"width": [0.5, 1.5]}, "end at 1"),
        ({"model": "regnety_002"}, "grouped"),
        ({"fixed": ["nope"]}, "nope"),
        ({"drop_out": 0.1}, "drop_out"),
    ]:
        with pytest.raises(WsnError, match=words):
            wsn.create_supernet("slimmable", **kwargs)
    with pytest.raises(WsnError, match="share their channels"):
        wsn.create_supernet("slimmable", resolution=32).order_channels()
