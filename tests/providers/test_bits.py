"""Elastic bit-widths: rounding, packing, LoRAs that only move zeros, gradients, and bytes."""

import json

import pytest
import torch
from helpers.nets import randomise
from transformers import AutoModelForCausalLM

import wsn
from wsn.cost_models.counted import WeightBytes
from wsn.losses import IGNORED
from wsn.methods.llm_qfa import bits_space
from wsn.providers.bits import BitsLinear, BitWidths, pack, unpack
from wsn.providers.gptq import DAMPING, linear_layers, quantise, round_gptq, round_nearest

SIZES = {"vocab_size": 40, "num_layers": 3, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "context": 32}
X = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(1))
BITS = [2, 3, 4]


def make(name="llama"):
    torch.manual_seed(0)
    return randomise(wsn.create_supernet(name, **({} if name == "gpt2" else {"kv_heads": 2}), **SIZES)).eval()


def with_bits(name="llama", **kwargs):
    """A network of bit-widths whose LoRAs are not zero."""
    net = make(name)
    net.space = bits_space(net.space, BITS)
    net.model.requires_grad_(False)
    net.providers.append(BitWidths(net, **{"group": 16, "rank": 4, **kwargs}))
    for bits in BITS:
        net.providers[0].fill(bits, round_nearest(net, bits, 16))
    with torch.no_grad():
        for path, parameter in net.providers[0].named_parameters():
            if path.endswith("up"):
                parameter.normal_(0, 0.1)
    return net.eval()


def correlated(rows, columns, seed=0):
    """A weight, and inputs whose channels go together."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(6 * columns, columns // 3, generator=generator) @ mix[: columns // 3]
    inputs += 0.1 * torch.randn(inputs.shape, generator=generator)
    return torch.randn(rows, columns, generator=generator), inputs


# -- rounding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_errs_less_than_the_nearest(bits):
    for seed in range(4):
        weight, inputs = correlated(24, 64, seed)
        errors = [
            (inputs @ (weight - quantise(weight, bits, 16, hessian).dense()).T).norm()
            for hessian in (None, inputs.T @ inputs)
        ]
        assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("group", [4, 12])
def test_gptq_is_the_textbook_of_optimal_brain_quantisation(group):
    """Weight after weight in order, the inverse of what remains of the Hessian computed anew for each."""
    weight, inputs = correlated(5, 12)
    hessian = (inputs.T @ inputs).double()
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(12)
    rest, top = weight.double().clone(), 2**3 - 1
    expected = torch.zeros(5, 12, dtype=torch.uint8)
    for at in range(12):
        if at % group == 0:
            low, high = rest[:, at : at + group].aminmax(dim=1)
        scale = (high - low) / top
        code = ((rest[:, at] - low) / scale).round().clamp(0, top)
        inverse = torch.linalg.inv(damped[at:, at:])
        lost = rest[:, at] - (code * scale + low)
        rest[:, at:] -= lost[:, None] * inverse[0] / inverse[0, 0]
        expected[:, at] = code
    found = quantise(weight, 3, group, inputs.T @ inputs)
    assert torch.equal(found.codes, expected)
    assert not torch.equal(found.codes, quantise(weight, 3, group).codes)


def test_the_nearest_code_and_constant_groups():
    weight = torch.tensor([[0.0, 1.0, 2.9, 6.0, 5.0, 5.0, 5.0, 5.0]])
    found = quantise(weight, 2, 4)
    assert found.codes.tolist() == [[0, 0, 1, 3, 0, 0, 0, 0]]
    torch.testing.assert_close(found.dense(), torch.tensor([[0.0, 0.0, 2.0, 6.0, 5.0, 5.0, 5.0, 5.0]]))
    dead = torch.diag(torch.tensor([1.0] * 6 + [0.0] * 2))
    assert quantise(weight, 2, 4, dead).dense().isfinite().all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_packing_takes_as_many_bits_as_it_says(bits):
    codes = torch.randint(0, 2**bits, (5, 24), dtype=torch.uint8)
    planes = pack(codes, bits)
    assert planes.nbytes * 8 == bits * codes.numel()
    assert torch.equal(unpack(planes), codes)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_blocks_are_rounded_on_what_rounded_blocks_give(name):
    """Each Hessian is of the inputs of the network whose blocks before are rounded; padding does not count."""
    net, labels = make(name), X.clone()
    labels[1, 5:] = IGNORED
    bare, batches = make(name), [(X, labels), (X.flip(1), X)]
    found = dict(round_gptq(net, 2, 16, batches))
    assert found.keys() == dict(round_nearest(net, 2, 16)).keys()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), bare.state_dict().values()))
    transposed = name == "gpt2"
    for block, names in linear_layers(net).items():
        sums = dict.fromkeys(names, 0)

        def note(leaf, args, which, keep, sums=sums):
            x = args[0][keep]
            sums[which] = sums[which] + x.T @ x

        for inputs, wanted in batches:
            hooks = [
                bare.model.get_submodule(f"{block}.{n}").register_forward_pre_hook(
                    lambda leaf, args, n=n, keep=wanted != IGNORED: note(leaf, args, n, keep)
                )
                for n in names
            ]
            with torch.no_grad():
                bare.model(inputs)
            for hook in hooks:
                hook.remove()
        for n in names:
            leaf = bare.model.get_submodule(f"{block}.{n}")
            weight = leaf.weight.T if transposed else leaf.weight
            expected = quantise(weight.detach(), 2, 16, sums[n])
            assert (
                expected.codes != found[f"{block}.{n}"].codes
            ).float().mean() < 0.01  # near halves, rounding may differ
        for n in names:
            dense = found[f"{block}.{n}"].dense()
            bare.model.get_submodule(f"{block}.{n}").weight.data = dense.T if transposed else dense


# -- subnets ----------------------------------------------------------------------------------------------------


def members(net):
    return [net.space.max(), net.space.min(), net.space.subnet(bits=[4, 2, 3])]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_an_extracted_subnet_is_a_network_of_those_bits(name, tmp_path):
    """Merged is unmerged; each merged weight lies on code · scale + zero, with the codes that were frozen."""
    net, bare = with_bits(name), make(name)
    provider = net.providers[0]
    for subnet in members(net):
        view, plain = net.view(subnet).eval(), net.extract(subnet).eval()
        assert {type(m) for m in plain.modules()} == {type(m) for m in bare.model.modules()}
        with torch.no_grad():
            torch.testing.assert_close(view(X).logits, plain(X).logits, rtol=1e-4, atol=1e-4)
            assert not torch.allclose(plain(X).logits, bare(X).logits, atol=1e-2)
        for (block, names), bits in zip(linear_layers(net).items(), subnet["bits"]):
            for path in (f"{block}.{n}" for n in names):
                width, weight = provider.at(path, bits), plain.get_submodule(path).weight
                codes, zeros = unpack(width.planes), width.zeros + 16.0 / 4 / 16 * (width.up @ width.down)
                assert codes.max() < 2**bits
                grid = codes.unflatten(1, (-1, 16)) * width.scales[..., None] + zeros[..., None]
                assert torch.equal(weight.T if name == "gpt2" else weight, grid.flatten(1))
        assert wsn.cost(net, subnet) == wsn.cost(bare, bare.space.max())
    plain.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(X).logits, net(X, subnet).logits, rtol=1e-4, atol=1e-4)


def test_the_adapter_reads_means_of_groups():
    net = with_bits()
    path, subnet = "model.layers.1.mlp.down_proj", net.space.min()
    leaf, width = net.view(subnet).get_submodule(path), net.providers[0].at("model.layers.1.mlp.down_proj", 2)
    assert isinstance(leaf, BitsLinear)
    x = torch.randn(2, 5, 64)
    means = torch.stack([x[..., 16 * g : 16 * g + 16].mean(-1) for g in range(4)], -1)
    expected = x @ width.weight().T + 16.0 / 4 * means @ width.down.T @ width.up.T
    torch.testing.assert_close(leaf(x), expected)


def test_only_the_loras_of_the_drawn_bits_have_gradients():
    net = with_bits()
    subnet = net.space.subnet(bits=[4, 2, 3])
    net(X, subnet).logits.square().mean().backward()
    drawn = {f"model_layers_{at}_": str(bits) for at, bits in enumerate(subnet["bits"])}
    for path, parameter in net.named_parameters():
        layer, bits = next(((p, b) for p, b in drawn.items() if p in path), ("", ""))
        wanted = bool(layer) and path.split(".")[-2] == bits
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == wanted, path
    assert sum(p.grad is not None for p in net.parameters()) == 3 * 7 * 2


def test_gradients_are_those_of_the_dense_layer():
    """The frozen weight is unpacked again for the backward pass."""
    net = with_bits()
    leaf = net.view(net.space.max()).get_submodule("model.layers.0.mlp.up_proj")
    x = torch.randn(2, 3, 32, requires_grad=True)
    leaf(x).square().sum().backward()
    dense, again = leaf.merged(), x.detach().clone().requires_grad_()
    dense(again).square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-4, atol=1e-4)


def test_bytes_are_those_of_the_packed_tensors():
    net = with_bits()
    for subnet in members(net):
        view = net.view(subnet)
        packed = [m for m in view.modules() if isinstance(m, BitsLinear)]
        hidden = {id(p) for m in packed for p in m.parameters()}
        rest = {id(p): p.nbytes for p in view.parameters() if id(p) not in hidden}
        codes = sum(m.width.planes.nbytes + m.width.scales.nbytes + m.width.zeros.nbytes for m in packed)
        assert WeightBytes(32)(net, subnet) == sum(rest.values()) + codes
        halves = sum(m.width.planes.nbytes + m.width.scales.nbytes // 2 + m.width.zeros.nbytes // 2 for m in packed)
        assert WeightBytes(16)(net, subnet) == sum(rest.values()) // 2 + halves
    sizes = [WeightBytes(32)(net, net.space.subnet(bits=b)) for b in BITS]
    weights = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] == weights / 8


def test_codes_are_in_the_state_dict():
    net, other = with_bits(), make()
    other.space = bits_space(other.space, BITS)
    other.providers.append(BitWidths(other, group=16, rank=4))
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        for subnet in members(net):
            assert torch.equal(net(X, subnet).logits, other.eval()(X, subnet).logits)


def test_mistakes():
    for bits, group, words in (([1, 4], 16, "from 2 to 8"), ([2, 9], 16, "from 2 to 8"), ([2], 24, "method.group=32")):
        net = make()
        net.space = bits_space(net.space, bits)
        with pytest.raises(wsn.WsnError, match=words):
            BitWidths(net, group=group)
    with pytest.raises(wsn.WsnError, match="order_channels"):
        with_bits().order_channels()


def test_a_space_of_bits_alone():
    space = bits_space(make().space, BITS)
    assert space.size() == 3**3
    assert json.loads(space.min().to_json())["ffn"] == [64, 64, 64]
    spread = wsn.create_supernet("llama", depth=[2, 3], keep="spread", **SIZES).space
    assert bits_space(spread, BITS).size() == 3**3
