"""Images of any size: what a network of timm does not take is one error that says the smallest size."""

import pytest
import torch
from helpers.configs import CONF
from helpers.nets import randomise

import wsn
from wsn import WsnError
from wsn.config import build_group, compose

MODELS = ["convnext_atto", "efficientnet_lite0", "regnety_002", "resnet18", "mobilenetv4_conv_small"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore:timm's mobilenetv4")
def test_small_images_reach_any_network(model):
    """The total stride is the data's to say, wherever timm's model has that option."""
    cfg = compose(CONF, ["backbone=timm_cnn", f"backbone.model={model}", "data=fashion_mnist_small"])
    net = build_group(cfg.backbone).eval()
    subnet = net.space.min()
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert net.predict(net.view(subnet), images, subnet).shape == (2, 10)


@pytest.mark.parametrize("backbone", ["timm_cnn", "slimmable"])
@pytest.mark.parametrize(("size", "smallest"), [([28, 64], 32), ([20], 32)])
def test_images_that_are_too_small_are_one_error(backbone, size, smallest):
    model = {"timm_cnn": "convnext_atto", "slimmable": "vgg11_bn"}[backbone]
    with pytest.raises(WsnError) as error:
        wsn.create_supernet(backbone, model=model, in_chans=1, num_classes=10, resolution=size)
    assert f"does not take images of {size[0]} px" in str(error.value)
    assert f"backbone.resolution=[{smallest}]" in str(error.value)
    assert "\n" not in str(error.value)
    wsn.create_supernet(backbone, model=model, in_chans=1, num_classes=10, resolution=[smallest])


def test_an_option_that_a_model_does_not_have_is_said():
    with pytest.warns(UserWarning, match="keeps its own total stride: output_stride=8"):
        wsn.create_supernet("timm_cnn", model="mobilenetv4_conv_small", num_classes=10, output_stride=8)


@pytest.mark.parametrize(
    ("backbone", "model"),
    [
        ("slimmable", "mixnet_s"), ("slimmable", "cspresnet50"), ("slimmable", "rexnet_100"),
        ("timm_cnn", "efficientnet_b0_gn"), ("timm_cnn", "gc_efficientnetv2_rw_t"),
        ("timm_cnn", "efficientnet_blur_b0"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_narrowed_are_refused_in_one_line_when_they_are_made(backbone, model):
    with torch.device("meta"), pytest.raises(WsnError, match="backbone.model") as error:
        wsn.create_supernet(backbone, model=model, resolution=224)
    assert "\n" not in str(error.value)


CHANNELS = ["tinynet_a", "densenet121", "repvgg_a0", "inception_v3", "mobilenetv4_conv_blur_medium", "dla34"]


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[] if m == "tinynet_a" else pytest.mark.slow) for m in CHANNELS]
)
def test_slimmable_networks_of_uneven_channels(model):
    """The largest is timm's own, and a view is the network that is extracted from it."""
    torch.manual_seed(0)
    net = wsn.create_supernet("slimmable", model=model, num_classes=5, width=[0.25, 0.5, 1.0], resolution=[96])
    randomise(net).eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(net(x), net.model(x))
        for width in (0.25, 0.5):
            subnet = net.space.subnet(width=width)
            plain = net.extract(subnet).eval()
            assert torch.equal(net.view(subnet)(x), plain(x))
            assert wsn.cost(net, subnet).params == sum(p.numel() for p in plain.parameters())
