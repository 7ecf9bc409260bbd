"""Images of any size: what a network of timm does not take is one error that says the smallest size."""

import pytest
import torch
from helpers.configs import CONF

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
