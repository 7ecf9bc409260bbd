"""Schemes on language models: SoFT against separate forwards, MatFormer's granularities, losses with padding."""

import pytest
import torch

import wsn
from wsn.losses import IGNORED
from wsn.methods.base import Method
from wsn.methods.soft import SoFT
from wsn.samplers.base import Draw
from wsn.samplers.exits import ExitSampler, first_layers
from wsn.samplers.granularity import GranularitySampler
from wsn.schedule import Phase, RoleLoss

PHASES = {"all": Phase(1)}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return wsn.create_supernet("llama", vocab_size=37, num_layers=4, hidden_size=32, num_heads=4, ffn_size=64)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 37, (3, 11), generator=generator)
    labels = tokens[:, 1:].clone()
    labels[1, 6:] = IGNORED
    return tokens[:, :-1], labels


def grads(net):
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunk_tokens", [4, 1000])
def test_soft_is_the_mean_over_separate_sub_models(net, batch, chunk_tokens):
    sampler = ExitSampler(net.space, exits=[1, 3, 4], roles=["exit"])
    draws = sampler.sample(0)
    assert [sum(d.subnet.layers) for d in draws] == [4, 3, 1]
    method = SoFT("soft", PHASES, {"exit": RoleLoss()}, chunk_tokens=chunk_tokens)
    assert method.prepare(net) is net
    passes = list(method.step(net, batch, draws))
    assert len(passes) == method.passes(draws) == 1
    passes[0].loss.backward()
    ours, loss = grads(net), passes[0].loss.item()
    net.zero_grad()
    inputs, labels = batch
    separate = [
        torch.nn.functional.cross_entropy(
            net(inputs, d.subnet).logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        for d in draws
    ]
    expected = torch.stack(separate).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    theirs = grads(net)
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], rtol=1e-3, atol=1e-6)


def test_soft_memory_of_logits_is_one_chunks(net, batch):
    """No tensor of all logits is kept for the backward: the graph saves hidden states only."""
    saved = []
    draws = ExitSampler(net.space, roles=["exit"]).sample(0)
    method = SoFT("soft", PHASES, {"exit": RoleLoss()}, chunk_tokens=5)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        next(iter(method.step(net, batch, draws)))
    positions = int((batch[1] != IGNORED).sum())
    vocabulary = net.model.config.vocab_size
    assert saved
    assert not any(shape[-2:] == (positions, vocabulary) for shape in saved)


def test_first_layers_of_a_network_of_two():
    space = wsn.create_supernet("llama", num_layers=2, hidden_size=16, num_heads=2, ffn_size=16).space
    assert [first_layers(space, n)["layers"] for n in (1, 2)] == [(1, 0), (1, 1)]


def test_soft_refuses_what_it_cannot_train(net):
    with pytest.raises(wsn.WsnError, match="backbone=llama"):
        SoFT("soft", PHASES, {"exit": RoleLoss()}).prepare(wsn.create_supernet("mobilenet", resolution=32))
    spread = [Draw(net.space.max(), "exit"), Draw(net.space.subnet(layers=[0, 2]), "exit")]
    method = SoFT("soft", PHASES, {"exit": RoleLoss()})
    with pytest.raises(wsn.WsnError, match="first layers"):
        next(iter(method.step(net, (torch.zeros(1, 2, dtype=torch.long),) * 2, spread)))
    with pytest.raises(wsn.WsnError, match="exits"):
        ExitSampler(net.space, exits=[9], roles=["exit"])


def test_granularities(net):
    one = GranularitySampler(net.space, roles=["granularity"])
    assert {one.sample(step)[0].subnet.ffn[0] for step in range(30)} == {16, 32, 64}
    every = GranularitySampler(net.space, roles=["granularity"], sampling="all").sample(0)
    assert [d.subnet.ffn for d in every] == [(64,) * 4, (32,) * 4, (16,) * 4]
    assert all(sum(d.subnet.layers) == 4 and d.subnet.embed_dim == 32 for d in every)
    with pytest.raises(wsn.WsnError, match="expand"):
        GranularitySampler(net.space, dimension="expand")


def test_distillation_leaves_padding_out(net, batch):
    """The loss of a padded batch is that of its tokens alone."""
    inputs, labels = batch
    method = Method(
        "ikd", PHASES, {"max": RoleLoss(), "min": RoleLoss(labels=0.0, distill=1.0, target="max")}, label_smoothing=0.0
    )
    draws = [Draw(net.space.max(), "max"), Draw(first_layers(net.space, 2), "min")]
    losses = [done.loss.item() for done in method.step(net, batch, draws)]
    with torch.no_grad():
        teacher, student = (net(inputs, d.subnet).logits[labels != IGNORED] for d in draws)
    wanted = labels[labels != IGNORED]
    assert losses[0] == pytest.approx(torch.nn.functional.cross_entropy(teacher, wanted).item(), rel=1e-5)
    soft = -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()
    assert losses[1] == pytest.approx(soft.item(), rel=1e-5)
    changed = inputs.clone()
    changed[1, 8:] = 0  # behind padding
    again = [done.loss.item() for done in method.step(net, (changed, labels), draws)]
    assert again == pytest.approx(losses, rel=1e-6)
