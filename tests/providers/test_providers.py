"""Weight providers: mixtures of LoRAs, FLAP's biases, and what an extracted subnet has of them."""

import copy

import pytest
import torch
from helpers.nets import randomise
from transformers import AutoModelForCausalLM

import wsn
from wsn.backbones.transformer import shape_space
from wsn.evaluation.evaluate import evaluate
from wsn.evaluation.metrics import LanguageMetrics
from wsn.importance.activations import flap_of, input_moments
from wsn.methods.amoeba import _sorted_means
from wsn.methods.base import Method
from wsn.providers.compensation import Compensation
from wsn.providers.smol import LoraLayer, SMoL
from wsn.samplers.base import Draw
from wsn.schedule import Phase, RoleLoss

SIZES = {"vocab_size": 40, "num_layers": 4, "hidden_size": 32, "num_heads": 8, "ffn_size": 64, "context": 32}
KEEP = {4: [0, 1, 2, 3], 3: [0, 2, 3], 2: [0, 3]}
X = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(1))


def make(name="llama"):
    """A network of shapes."""
    torch.manual_seed(0)
    options = {} if name == "gpt2" else {"kv_heads": 4}
    net = randomise(wsn.create_supernet(name, **options, **SIZES)).eval()
    net.space = shape_space(net.space, KEEP, [0.5, 0.75, 1.0], {"heads": net.kind.group, "ffn": 8})
    return net


def with_smol(name="llama", **kwargs):
    net = make(name)
    net.model.requires_grad_(False)
    net.providers.append(SMoL(net, **{"rank": 4, "experts": 3, **kwargs}))
    with torch.no_grad():
        for up in net.providers[0].up.values():
            up.normal_(0, 0.3)
    return net.eval()


def shapes(net):
    return [net.space.subnet(depth=d, width=w) for d in (2, 3, 4) for w in (0.5, 0.75, 1.0)]


# -- SMoL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_merged_is_unmerged(name):
    net, bare = with_smol(name), make(name)
    for subnet in shapes(net):
        view, plain = net.view(subnet), net.extract(subnet)
        assert any(isinstance(m, LoraLayer) for m in view.modules())
        assert {type(m) for m in plain.modules()} == {type(m) for m in bare.view(subnet).modules()}
        assert all(p.requires_grad and p.is_leaf for p in plain.parameters())
        with torch.no_grad():
            torch.testing.assert_close(view(X).logits, plain(X).logits, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(plain(X).logits, bare(X, subnet).logits, atol=1e-2)
        assert wsn.cost(net, subnet) == wsn.cost(bare, subnet)
        assert wsn.cost(net, subnet).params == sum(p.numel() for p in plain.parameters())


def test_the_update_is_the_product_of_mixed_factors():
    """Of the kept rows and columns, by hand: scale · (Σ g B)[:out] (Σ g A)[:, :in], cross terms and all."""
    net = with_smol(alpha=8.0)
    smol, subnet = net.providers[0], net.space.subnet(depth=3, width=0.5)
    described = smol.describe(subnet)
    assert described.tolist() == [1, 0, 1, 1, 1, 0, 0]
    logits = smol.gate.route(described)
    best = logits.topk(2).indices
    shares = torch.zeros(3).index_copy(0, best, logits[best].softmax(0))
    plain = net.extract(subnet)
    for at, layer in enumerate(KEEP[3]):
        for name, rows, columns in (("self_attn.k_proj", 8, 32), ("mlp.up_proj", 32, 32), ("mlp.down_proj", 32, 32)):
            key = f"model.layers.{layer}.{name}"
            up = sum(g * b for g, b in zip(shares, smol.up[key.replace(".", "_")]))
            down = sum(g * a for g, a in zip(shares, smol.down[key.replace(".", "_")]))
            full = net.model.get_submodule(key).weight + 8.0 / 4 * up @ down
            found = plain.model.layers[at].get_submodule(name).weight
            torch.testing.assert_close(found, full[:rows, :columns])


def test_it_starts_as_the_network_without_it():
    net, bare = make(), make()
    net.providers.append(SMoL(net))
    for subnet in shapes(net):
        with torch.no_grad():
            assert torch.equal(net.eval()(X, subnet).logits, bare(X, subnet).logits)


def test_the_gates_gradient():
    """By finite differences, through both factors of every layer; experts that are not chosen get none."""
    net = with_smol()
    smol, subnet = net.providers[0].double(), net.space.subnet(depth=2, width=0.75)
    net.model.double()

    def loss():
        smol.describe = lambda s: SMoL.describe(smol, s).double()
        return net(X, subnet).logits.square().mean()

    loss().backward()
    for parameter in (smol.gate.route[0].bias, smol.gate.route[1].weight):
        flat, grad = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 7)):
            with torch.no_grad():
                flat[i] += 1e-3
                above = loss()
                flat[i] -= 2e-3
                below = loss()
                flat[i] += 1e-3
            assert grad[i].item() == pytest.approx((above - below).item() / 2e-3, rel=1e-2, abs=1e-6)
    assert smol.gate.route[0].bias.grad.abs().sum() > 0
    chosen = smol.gate(smol.describe(subnet))[1].tolist()
    for expert in range(3):
        gradient = smol.up["model_layers_0_mlp_up_proj"].grad[expert].abs().sum()
        assert (gradient > 0) == (expert in chosen)
    assert smol.up["model_layers_1_mlp_up_proj"].grad is None  # skipped
    assert all(p.grad is None for p in net.model.parameters())  # frozen


def test_noise_is_for_training_alone():
    net = with_smol(experts=5)
    subnet = net.space.max()
    net.train()
    with torch.no_grad():
        assert torch.equal(net(X, subnet).logits, net(X, subnet).logits)
        expected = net.extract(subnet)(X).logits
        torch.testing.assert_close(net(X, subnet).logits, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(net(X, subnet).logits, net(X, subnet).logits)
    assert net.providers.training


def test_shapes_that_begin_alike_share_nothing_of_another_gate():
    net = with_smol()
    loader, metrics = [(X[:, :-1], X[:, 1:])], lambda: LanguageMetrics(1.0)
    together = evaluate(net, shapes(net), loader, None, metrics)
    for subnet, found in zip(shapes(net), together):
        assert found == evaluate(net, [subnet], loader, None, metrics)[0]


def test_smol_is_in_the_state_dict_and_refuses_what_it_cannot_do():
    net, other = with_smol(), with_smol()
    torch.manual_seed(5)
    randomise(other)
    other.load_state_dict(net.state_dict())
    subnet = net.space.min()
    with torch.no_grad():
        assert torch.equal(net(X, subnet).logits, other(X, subnet).logits)
    with pytest.raises(wsn.WsnError, match="method.selection.width"):
        net.order_channels()
    with pytest.raises(wsn.WsnError, match="top_k"):
        SMoL(make(), experts=2, top_k=3)
    with pytest.raises(wsn.WsnError, match="layers and width"):
        SMoL(wsn.create_supernet("llama", **SIZES))


# -- bias compensation -------------------------------------------------------------------------------------------


def compensated(name="llama"):
    net = make(name)
    moments = input_moments(net.model, [X])
    order = net.order_channels(score=flap_of(net.model, moments))
    means = _sorted_means({path: m.mean for path, m in moments.items()}, order)
    sorted_net = copy.deepcopy(net)
    net.providers.append(Compensation(net))
    net.providers[0].fill(net, means)
    return net, sorted_net


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_pruned_channels_give_their_mean(name):
    """The compensated slice is the full layer whose pruned inputs are replaced by their means."""
    net, bare = compensated(name)
    subnet = net.space.subnet(width=0.5)
    path, reader = ("transformer.h.0", "mlp.c_proj") if name == "gpt2" else ("model.layers.0", "mlp.down_proj")
    inputs = {}
    for which, model in (("full", bare.model), ("cut", net.view(subnet))):
        model.get_submodule(f"{path}.{reader}").register_forward_hook(
            lambda _, args, out, which=which: inputs.update({which: (args[0], out)})
        )
        with torch.no_grad():
            model(X)
    full, (cut, found) = bare.model.get_submodule(f"{path}.{reader}"), inputs["cut"]
    mean = input_moments(bare.model, [X])[f"{path}.{reader}"].mean
    filled = torch.cat([cut, mean[32:].expand(*cut.shape[:-1], -1)], -1)
    full._forward_hooks.clear()
    torch.testing.assert_close(found, full(filled))
    with torch.no_grad():
        assert torch.equal(net(X).logits, bare(X).logits)  # the largest has nothing pruned


def test_compensation_brings_the_cut_network_closer():
    net, bare = compensated()
    with torch.no_grad():
        for layer in (net, bare):  # inputs with a mean, as those of real networks have
            for block in layer.model.model.layers:
                block.mlp.up_proj.weight.copy_(block.mlp.gate_proj.weight)
    means = {path: m.mean for path, m in input_moments(bare.model, [X]).items()}
    net.providers[0].fill(bare, means)
    subnet = net.space.subnet(width=0.5)
    with torch.no_grad():
        full = bare(X).logits
        assert (net(X, subnet).logits - full).norm() < 0.9 * (bare(X, subnet).logits - full).norm()


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen2"])
def test_compensated_checkpoints(name, tmp_path):
    """Llama's configuration declares the biases, and the checkpoint loads; Qwen's cannot, and says so."""
    net, _ = compensated(name)
    net.providers.append(SMoL(net, rank=2))
    subnet = net.space.subnet(depth=3, width=0.5)
    plain = net.extract(subnet).eval()
    biases = 3 * 2 * 32  # of three layers, beside zeros that Llama's configuration declares
    bare = sum(p.numel() for p in make(name).extract(subnet).parameters())
    assert wsn.cost(net, subnet).params == bare + biases
    if name != "llama":
        assert plain.config.wsn_layers == "biases"
        return
    plain.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(X).logits, net(X, subnet).logits, rtol=1e-4, atol=1e-5)
        assert not getattr(net.extract(net.space.max()).config, "attention_bias", False)


# -- balanced losses -----------------------------------------------------------------------------------------------


def test_balancing_leaves_the_largest_loss_magnitude_to_every_subnet():
    """L · sg[L_max / L]: the value of the largest's loss, and the subnet's own gradient times that ratio."""
    distil = RoleLoss(labels=0.25, distill=0.75, target="max", dropout=False)
    balanced = RoleLoss(labels=0.25, distill=0.75, target="max", dropout=False, balance="max")
    batch, net = (X[:, :-1], X[:, 1:]), make()
    draws = [Draw(net.space.max(), "max"), Draw(shapes(net)[4], "random"), Draw(net.space.min(), "min")]

    def passes(loss):
        method, found = Method("m", {"all": Phase(1)}, {"max": RoleLoss(), "default": loss}), []
        for done in method.step(net, batch, draws):
            net.zero_grad()
            done.loss.backward()
            found.append((done.loss.item(), net.model.model.embed_tokens.weight.grad.clone()))
        return found

    plain, scaled = passes(distil), passes(balanced)
    reference = plain[0][0]
    for (own, gradient), (loss, other) in zip(plain, scaled):
        assert loss == pytest.approx(reference, rel=1e-5)
        torch.testing.assert_close(other, gradient * (reference / own), rtol=1e-4, atol=1e-7)
    late = Method("m", {"all": Phase(1)}, {"default": RoleLoss(balance="max")})
    with pytest.raises(wsn.WsnError, match="draw it first"):
        list(late.step(net, batch, [Draw(net.space.min(), "min")]))
