"""Language models: generation, checkpoints, which layers, and what narrow norms compute."""

import random

import pytest
import torch
from helpers.nets import TINY_LLM, randomise
from transformers import AutoModelForCausalLM

import wsn
from wsn.backbones.causal_lm import is_uniform


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3", "gpt2"])
def net(request):
    torch.manual_seed(0)
    extra = {} if request.param == "gpt2" else {"kv_heads": 2}
    return randomise(wsn.create_supernet(request.param, embed_dim=[16, 32], **{**TINY_LLM, **extra})).eval()


IDS = torch.tensor([[5, 3, 8, 1, 9], [2, 7, 7, 0, 31]])


def test_generate_with_its_cache_on_a_view(net, rng):
    for _ in range(3):
        subnet = net.space.sample(rng)
        options = {"max_new_tokens": 6, "do_sample": False}
        cached = net.view(subnet).generate(IDS, use_cache=True, **options)
        assert cached.shape == (2, 11)
        assert torch.equal(cached, net.extract(subnet).generate(IDS, use_cache=False, **options))


def test_a_uniform_subnet_is_a_checkpoint_of_transformers(net, tmp_path):
    subnet = net.space.subnet(layers=[0, 2], heads=2, ffn=32, embed_dim=16)
    assert is_uniform(subnet)
    plain = net.extract(subnet).eval()
    plain.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(plain)
    assert loaded.config.num_hidden_layers == 2
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, plain(IDS).logits)


def test_another_subnet_says_its_sizes(net, tmp_path):
    subnet = net.space.subnet(layers=[0, 2], heads=[2, 2, 4], ffn=[16, 32, 64])
    assert not is_uniform(subnet)
    plain = net.extract(subnet).eval()
    assert plain.config.wsn_layers == [{"heads": 2, "ffn": 16}, {"heads": 4, "ffn": 64}]
    torch.save(plain, tmp_path / "subnet.pt")
    loaded = torch.load(tmp_path / "subnet.pt", weights_only=False)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, plain(IDS).logits)


def test_any_set_of_layers(net):
    by_index, by_flag = net.space.subnet(layers=[0, 2]), net.space.subnet(layers=[1, 0, 1])
    assert by_index == by_flag
    assert by_index.layers == (1, 0, 1)
    assert by_index.ffn[1] is None
    view = net.view(by_index)
    names = [n for n, _ in view.named_parameters()]
    assert not any(".2." in n for n in names)  # numbered anew
    with torch.no_grad():
        expected = net.extract(net.space.max())
        kind = net.kind
        layers = expected.get_submodule(f"{kind.base}.{kind.layers}")
        del layers[1]
        for i, layer in enumerate(layers):
            getattr(layer, kind.attention).layer_idx = i
        expected.config.num_hidden_layers = 2
        if getattr(expected.config, "layer_types", None):
            expected.config.layer_types = expected.config.layer_types[:2]
        torch.testing.assert_close(view(IDS).logits, expected(IDS).logits)
    assert sum(net.space.min().layers) == 1  # never none


def test_the_model_is_left_as_it_was(net):
    config = net.model.config.to_dict()
    net.view(net.space.min())
    net.extract(net.space.min())
    assert net.model.config.to_dict() == config
    base = net.model.get_submodule(net.kind.base)
    for i, layer in enumerate(getattr(base, net.kind.layers)):
        assert getattr(layer, net.kind.attention).layer_idx == i


def test_norms_run_over_the_kept_channels(net):
    """A narrow norm normalises by its own width: the same as the library's norm of that width."""
    norm = net.view(net.space.subnet(embed_dim=16)).get_submodule(f"{net.kind.base}.{net.kind.norm}")
    full = net.model.get_submodule(f"{net.kind.base}.{net.kind.norm}")
    x = torch.randn(3, 16)
    with torch.no_grad():
        centred = x - x.mean(-1, keepdim=True) if net.kind.base == "transformer" else x
        eps = getattr(full, "variance_epsilon", None) or full.eps
        expected = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) * full.weight[:16]
        if net.kind.base == "transformer":
            expected = expected + full.bias[:16]
        torch.testing.assert_close(norm(x), expected)


def test_tied_embeddings_stay_tied(net):
    subnet = net.space.subnet(embed_dim=16)
    for network in (net.view(subnet), net.extract(subnet)):
        embedding = network.get_input_embeddings().weight
        assert (network.lm_head.weight is embedding) == net.tied


def test_depth_in_place_of_layers():
    options = {"depth": [1, 2, 3], "kv_heads": 2, **TINY_LLM}
    first = wsn.create_supernet("llama", **options)
    assert [at for _, _, at in first.space.kept(first.space.subnet(depth=2))] == [0, 1]
    spread = wsn.create_supernet("llama", keep="spread", **options)
    assert [at for _, _, at in spread.space.kept(spread.space.subnet(depth=2))] == [0, 2]
    table = wsn.create_supernet("llama", keep={1: [1], 2: [1, 2], 3: [0, 1, 2]}, **options)
    assert table.space.subnet(depth=1).layers == (0, 1, 0)
    assert table.space.size() == first.space.size() == spread.space.size()
    assert len({first.space.sample(random.Random(i)) for i in range(50)}) > 5


def test_full_leaves_a_dimension_as_the_checkpoint_has_it():
    space = wsn.create_supernet("llama", **{**TINY_LLM, "embed_dim": "full", "heads": "full", "layers": [1]}).space
    largest, smallest = space.max(), space.min()
    assert (smallest.embed_dim, smallest.heads, smallest.layers) == (largest.embed_dim, largest.heads, largest.layers)
    assert smallest.ffn < largest.ffn
