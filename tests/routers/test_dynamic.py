"""Dynamic routers: grouped execution equals masks and saves FLOPs; learning through the surrogate."""

import pytest
import torch
from helpers.nets import logits, make_llm, make_shapes, tokens
from torch.utils.flop_counter import FlopCounterMode

import wsn
from wsn.methods.dynamic import DynamicRouted, sequence_losses
from wsn.routers.choices import Choices
from wsn.routers.dynamic import SequenceRouter, TokenRouter
from wsn.routers.grouped import run_routed
from wsn.routers.gumbel import Gumbel
from wsn.routers.masks import masked
from wsn.routers.surrogate import Surrogate
from wsn.samplers.base import Draw
from wsn.schedule import Phase, RoleLoss


def spread(router):
    """Make a fresh router choose differently for different inputs, which it reads as small numbers."""
    with torch.no_grad():
        for name, parameter in router.named_parameters():
            parameter.mul_(500 if name.startswith("read") else 20)
        for gates in getattr(router, "layers", {}).values():
            gates[0].weight[:, : -len(router.budgets)].mul_(500)  # all but the budget
    return router


def flops(run):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_sequences_are_grouped_by_subnet(name):
    net, inputs = make_llm(name), tokens(8)
    inputs[5:] = inputs[:3]  # alike: the same subnets
    router = spread(SequenceRouter(Choices(net.space), [0.5, 0.8], hidden=16))
    out, subnets = run_routed(net, router, inputs, 0.5)
    assert 1 < len(set(subnets)) <= 5
    with torch.no_grad():
        weights = router.choices.harden(router.logits(0.5, net.model.get_input_embeddings()(inputs)))
        torch.testing.assert_close(out, logits(masked(net, weights), inputs), rtol=1e-4, atol=1e-5)
    used = flops(lambda: run_routed(net, router, inputs, 0.5)) - flops(
        lambda: router.logits(0.5, net.model.get_input_embeddings()(inputs))
    )
    alone = sum(flops(lambda s=s, i=i: logits(net.view(s), inputs[i : i + 1])) for i, s in enumerate(subnets))
    assert used == alone  # what the subnets need, sequence by sequence
    assert used < 0.9 * flops(lambda: logits(net.model, inputs)) < flops(lambda: logits(masked(net, weights), inputs))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_tokens_are_grouped_by_the_width_of_their_ffn(name):
    net, inputs = make_llm(name), tokens(4)
    router = spread(TokenRouter(Choices(net.space), [0.5, 0.8], hidden=16))
    seen = []

    def hard(values):
        seen.append(values.argmax(-1))
        return torch.nn.functional.one_hot(seen[-1], values.shape[-1]).float()

    out, (subnet, *_) = run_routed(net, router, inputs, 0.8)
    with torch.no_grad():
        weights = {k: v for k, v in router.choices.one_hot(subnet).items() if k[0] != "ffn"}
        view = masked(net, weights)
        router.attach(net, view, weights, 0.8, hard)
        torch.testing.assert_close(out, logits(view, inputs), rtol=1e-4, atol=1e-5)
    kept = [at for _, _, at in net.space.kept(subnet)]
    chosen = torch.stack([seen[at] for at in kept])
    assert len(chosen.unique()) > 1
    widths = torch.tensor(net.space.dimensions["ffn"].choices[0])
    gates = sum(p.numel() for at in kept for p in router.layers[str(at)].parameters())
    static = flops(lambda: router.route(0.8))
    used = flops(lambda: run_routed(net, router, inputs, 0.8)) - 2 * gates * inputs.numel() - static
    saved = (widths[-1] - widths[chosen]).sum().item()  # units that were not computed
    matrices = 2 if name == "gpt2" else 3
    full = flops(lambda: logits(net.view(subnet), inputs))
    assert used == full - 2 * matrices * subnet.embed_dim * saved < full


def method_of(router=SequenceRouter, **options):
    surrogate = options.pop("surrogate", Surrogate)
    losses = {"default": RoleLoss()}
    phases = {"all": Phase(1)}
    return DynamicRouted("d", phases, losses, budgets=[0.5, 0.8], router=router, surrogate=surrogate, **options)


def batch(count=3):
    return tokens(count)[:, :-1], tokens(count)[:, 1:]


@pytest.mark.parametrize("router", [SequenceRouter, TokenRouter])
@pytest.mark.parametrize("good", [True, False])
def test_the_router_follows_the_surrogate_once_it_is_good(router, good):
    net = make_llm("llama").train()
    method = method_of(router, surrogate=lambda c: Surrogate(c, threshold=1e9 if good else 0.0))
    method.prepare(net)
    (done,) = method.step(net, batch(), [Draw(net.space.max(), "router_0.5")])
    done.loss.backward()
    grads = [p.grad for p in net.router.parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in grads) == good
    assert good or all(g is None for g in grads)
    assert all(p.grad.abs().max() > 0 for p in net.surrogate.parameters())
    assert all(p.grad is None for p in net.model.parameters())


@pytest.mark.parametrize("router", [SequenceRouter, TokenRouter])
def test_in_the_joint_phase_network_and_router_learn(router):
    net = make_llm("llama").train()
    method = method_of(router, gumbel=Gumbel(hard=0.0))  # no layer is skipped
    method.prepare(net)
    (done,) = method.step(net, batch(), [Draw(net.space.max(), "budget_0.5")])
    done.loss.backward()
    assert all(p.grad.abs().max() > 0 for p in net.router.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in net.model.parameters())
    assert all(p.grad is None for p in net.surrogate.parameters())


@pytest.mark.parametrize("router", [SequenceRouter, TokenRouter])
def test_what_is_logged_of_a_dynamic_router_is_what_it_runs(router):
    net = make_llm("llama").eval()
    method = method_of(router)
    method.prepare(net)
    spread(net.router)
    inputs, labels = batch(6)
    values, subnets = run_routed(net, net.router, inputs, 0.5)
    found = method.measure(net, 0.5, [(inputs[:3], labels[:3]), (inputs[3:], labels[3:])])
    assert found["loss"] == pytest.approx(sequence_losses(values, labels).mean().item(), rel=1e-4)
    shares = [method.cost_of(net).share(subnet) for subnet in subnets]
    if router is SequenceRouter:
        assert len(set(subnets)) > 1
        assert found["cost"] == pytest.approx(sum(shares) / len(shares), rel=1e-4)
    else:
        assert 0 < found["cost"] <= shares[0]  # of the subnet with the largest FFNs
    assert method.chosen(net) == {}


def test_the_surrogates_gradient_does_not_mix_with_the_routers():
    choices = Choices(make_llm("llama").space)
    surrogate = Surrogate(choices, threshold=1e9)
    weights = {k: torch.randn(4, 1, len(v)).softmax(-1).requires_grad_() for k, v in choices.routed.items()}
    fit, guide = surrogate.losses(weights, torch.rand(4) + 3)
    fit.backward(retain_graph=True)
    assert all(w.grad is None for w in weights.values())
    expected = [p.grad.clone() for p in surrogate.parameters()]
    guide.backward()
    assert all(w.grad.abs().max() > 0 for w in weights.values())
    assert all(torch.equal(p.grad, e) for p, e in zip(surrogate.parameters(), expected))


def test_losses_of_sequences_leave_padding_out():
    values, labels = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    labels[1, 2:] = -100
    wanted = [torch.nn.functional.cross_entropy(values[0], labels[0]).item()]
    wanted.append(torch.nn.functional.cross_entropy(values[1, :2], labels[1, :2]).item())
    assert sequence_losses(values, labels).tolist() == pytest.approx(wanted)


def test_later_tokens_do_not_tell_and_followers_are_refused():
    net = make_llm("llama")
    router = spread(SequenceRouter(Choices(net.space), [0.5], prompt=4))
    embed, inputs = net.model.get_input_embeddings(), tokens()
    changed = torch.cat([inputs[:, :4], inputs[:, 4:].flip(1)], 1)
    for a, b in zip(router.logits(0.5, embed(inputs)).values(), router.logits(0.5, embed(changed)).values()):
        assert torch.equal(a, b)
    with pytest.raises(wsn.WsnError, match="ffn follows width"):
        TokenRouter(Choices(make_shapes().space), [0.5])
