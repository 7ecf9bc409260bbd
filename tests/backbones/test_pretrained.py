"""Starting from pretrained weights: the largest subnet is the library's network bit for bit."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import wsn

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch_weights import default_folder  # noqa: E402

REAL = {"mobilenetv2_100": 224, "tf_efficientnet_lite0": 224}
NOT_FETCHED = f"no real weights in {default_folder()}: run python tests/fetch_weights.py"


@pytest.mark.parametrize(
    ("name", "model", "kwargs"),
    [
        ("vit", "vit_tiny_patch16_224", {"resolution": 224}),
        ("timm_cnn", "regnety_002", {"resolution": 64}),
        ("timm_cnn", "convnext_atto", {"resolution": 64}),
        ("slimmable", "mobilenetv2_050", {"resolution": 64}),
    ],
)
def test_weights_from_a_file(name, model, kwargs, tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model(model, num_classes=7).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    net = wsn.create_supernet(
        name, model=model, num_classes=7, pretrained=str(tmp_path / "weights.safetensors"), **kwargs
    ).eval()
    x = torch.randn(2, 3, kwargs["resolution"], kwargs["resolution"])
    with torch.no_grad():
        assert torch.equal(net(x, net.space.max()), theirs(x))
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in net.model.state_dict().items())


def test_weights_of_another_network(tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model("regnety_002", num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(wsn.WsnError, match="lacks .* of its parameters"):
        wsn.create_supernet("timm_cnn", model="efficientnet_lite0", pretrained=str(tmp_path / "weights.safetensors"))
    with pytest.raises(wsn.WsnError, match="Cannot start"):
        wsn.create_supernet("timm_cnn", model="regnety_002", pretrained="no_such_tag")
    (tmp_path / "broken.pth").write_text("no weights")
    with pytest.raises(wsn.WsnError, match="cannot read"):
        wsn.create_supernet("timm_cnn", model="regnety_002", pretrained=str(tmp_path / "broken.pth"))


@pytest.mark.parametrize("model", REAL)
@pytest.mark.skipif(not (default_folder() / "mobilenetv2_100.safetensors").exists(), reason=NOT_FETCHED)
def test_real_imagenet_weights(model):
    path = default_folder() / f"{model}.safetensors"
    theirs = timm.create_model(model).eval()
    theirs.load_state_dict(load_file(path))
    net = wsn.create_supernet("timm_cnn", model=model, pretrained=str(path)).eval()
    x = torch.randn(1, 3, REAL[model], REAL[model])
    with torch.no_grad():
        assert torch.equal(net(x, net.space.max()), theirs(x))
    for options in ({"num_classes": 10}, {"num_classes": 10, "in_chans": 1}):
        small = wsn.create_supernet("timm_cnn", model=model, pretrained=str(path), **options)
        assert small.model.get_classifier().out_features == 10
        name = "blocks.2.0.conv_pw.weight"
        assert torch.equal(small.model.state_dict()[name], theirs.state_dict()[name])


@pytest.mark.slow
@pytest.mark.skipif(not (default_folder() / "smollm2").exists(), reason=NOT_FETCHED)
def test_smollm2():
    pytest.importorskip("gguf", reason="needs gguf and accelerate")
    from wsn.backbones.hugging_face import load_pretrained

    folder = default_folder() / "smollm2"
    net, theirs = wsn.create_supernet("llama", model_dir=folder).eval(), load_pretrained(folder).eval()
    ids = torch.randint(0, 49_152, (1, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(net(ids, net.space.max()).logits, theirs(ids).logits)
        assert net.view(net.space.subnet(layers=range(27), heads=6)).generate(ids, max_new_tokens=4).shape == (1, 36)
    assert wsn.cost(net, net.space.max()).params == sum(p.numel() for p in theirs.parameters())
