"""A network that is masked to a subnet computes what the subnet's view computes; soft masks have gradients."""

import random

import pytest
import torch
from helpers.nets import ROUTED, logits, make_llm, make_shapes, tokens

from wsn.routers.choices import Choices
from wsn.routers.masks import MaskedNorm, masked


@pytest.mark.parametrize("name", [*ROUTED, "shapes"])
def test_a_hard_mask_is_the_sliced_view(name):
    net = make_shapes() if name == "shapes" else make_llm(name)
    choices, rng, inputs = Choices(net.space), random.Random(0), tokens()
    before = {n: p.clone() for n, p in net.named_parameters()}
    for subnet in (net.space.min(), net.space.max(), *(net.space.sample(rng) for _ in range(6))):
        weights = choices.one_hot(subnet)
        assert choices.subnets(weights) == [subnet]
        with torch.no_grad():
            torch.testing.assert_close(
                logits(masked(net, weights), inputs), logits(net.view(subnet), inputs), rtol=1e-4, atol=1e-5
            )
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
    assert not any(isinstance(m, MaskedNorm) or m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_masked_norm_is_the_narrow_one_whatever_its_eps(name, eps):
    full = make_llm(name).model.get_submodule({"llama": "model.norm", "gpt2": "transformer.ln_f"}[name])
    attribute = "variance_epsilon" if name == "llama" else "eps"
    setattr(full, attribute, eps)
    narrow = torch.nn.RMSNorm(12, eps) if name == "llama" else torch.nn.LayerNorm(12, eps)
    narrow.load_state_dict({n: p[:12] for n, p in full.state_dict().items()})
    mask = (torch.arange(32) < 12).float()
    x = 0.3 * torch.randn(2, 5, 32) * mask
    with torch.no_grad():
        out = MaskedNorm(full, lambda: mask)(x)
        torch.testing.assert_close(out[..., :12], narrow(x[..., :12]))
        assert not out[..., 12:].any()
        assert not torch.allclose(full(x)[..., :12], narrow(x[..., :12]), atol=1e-3)  # unlike the norm alone


def test_each_sequence_of_a_batch_has_its_own_subnet():
    net = make_llm("llama")
    choices, rng, inputs = Choices(net.space), random.Random(3), tokens()
    subnets = [net.space.sample(rng) for _ in inputs]
    rows = [choices.one_hot(s) for s in subnets]
    weights = {key: torch.stack([r[key] for r in rows]).unsqueeze(1) for key in rows[0]}
    assert choices.subnets(weights) == subnets
    with torch.no_grad():
        together = logits(masked(net, weights), inputs)
        for i, subnet in enumerate(subnets):
            alone = logits(net.view(subnet), inputs[i : i + 1])[0]
            torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*ROUTED, "shapes"])
def test_soft_choices_have_gradients_and_a_frozen_network_none(name):
    net = make_shapes() if name == "shapes" else make_llm(name)
    shares = {k: torch.zeros(len(v), requires_grad=True) for k, v in Choices(net.space).routed.items()}

    def loss(frozen):
        weights = {key: value.softmax(-1) for key, value in shares.items()}
        out = logits(masked(net, weights, frozen), tokens())
        return torch.nn.functional.cross_entropy(out.flatten(0, 1), tokens().flatten())

    loss(frozen=True).backward()
    for key, value in shares.items():
        assert value.grad.abs().max() > 1e-9, key
        assert value.grad.sum().abs() < 1e-6  # of a softmax
    assert all(p.grad is None for p in net.parameters())
    loss(frozen=False).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for n, p in net.named_parameters() if "norm" in n)


def test_the_gradient_of_a_soft_choice_is_the_finite_difference():
    net = make_llm("llama").double()
    shares = {k: torch.zeros(len(v), dtype=torch.double) for k, v in Choices(net.space).routed.items()}
    for key in (("embed_dim", 0), ("heads", 1), ("ffn", 2), ("layers", 0)):

        def value(share, key=key):
            mixed = {k: (share if k == key else v).softmax(-1).float() for k, v in shares.items()}
            return logits(masked(net, mixed), tokens())[0, -1, 0]

        at = shares[key].clone().requires_grad_()
        (grad,) = torch.autograd.grad(value(at), at)
        step = torch.zeros_like(at).index_fill(0, torch.tensor([0]), 1e-2)
        with torch.no_grad():
            difference = (value(at + step) - value(at - step)) / 2e-2
        assert grad[0].item() == pytest.approx(difference.item(), rel=2e-2, abs=1e-5)


def test_hardening_gives_the_subnet_and_keeps_the_gradient():
    net = make_llm("llama")
    choices = Choices(net.space)
    soft = {k: torch.randn(len(v)).softmax(-1).requires_grad_() for k, v in choices.routed.items()}
    for key in soft:
        if key[0] == "layers":
            soft[key] = torch.tensor([0.9, 0.1], requires_grad=True)  # none is kept
    hard = choices.harden(soft)
    (subnet,) = choices.subnets(hard)
    assert subnet.layers == (1, 0, 0)  # but one layer always is
    torch.testing.assert_close({k: h.detach() for k, h in hard.items()}, choices.one_hot(subnet))
    sum((h * torch.arange(len(h))).sum() for h in hard.values()).backward()
    assert all(torch.equal(s.grad, torch.arange(len(s)).float()) for s in soft.values())
