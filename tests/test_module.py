"""The optimisation loop against plain torch code that does the same by hand."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers.nets import make_net
from helpers.training import assert_same_weights, batches, fit

import wsn
from wsn.losses import soft_cross_entropy
from wsn.methods.base import Method
from wsn.module import SupernetModule, parameter_groups
from wsn.samplers.base import Draw
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase, RoleLoss, constant
from wsn.supernet.images import at_resolution

LR = 0.05


Sandwich = partial(UniformSampler, roles=["max", "random", "min"])


def in_place(**kwargs):
    distil = RoleLoss(labels=0.0, distill=1.0, target="max", dropout=False)
    return Method(
        "sandwich", {"all": Phase(4, roles=["max", "random", "min"])}, {"max": RoleLoss(), "default": distil}, **kwargs
    )


def make_module(net, method, sampler=Sandwich, momentum=0.9, **kwargs):
    return SupernetModule(
        net,
        method,
        sampler(net.space, seed=5),
        partial(torch.optim.SGD, lr=LR, momentum=momentum),
        constant,
        **kwargs,
    )


def reference(net, batches, share=1.0, accumulate=1, clip=None):
    """Train ``net`` by hand: sandwich, in-place distillation, gradients summed (times ``share``)."""
    sampler = Sandwich(net.space, seed=5)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    net.train()
    for i, (x, y) in enumerate(batches):
        taught = None
        for subnet, role in sampler.sample(i // accumulate):
            logits = net(at_resolution(x, subnet), subnet)
            if role == "max":
                taught = logits.detach()
                loss = F.cross_entropy(logits, y)
            else:
                loss = soft_cross_entropy(logits, taught)
            (loss * share / accumulate).backward()
        if (i + 1) % accumulate == 0 or i + 1 == len(batches):
            if clip:
                clip(net.parameters())
            optimizer.step()
            optimizer.zero_grad()
    return net


@pytest.mark.parametrize(("aggregation", "share"), [("sum", 1.0), ("mean", 1 / 3)])
def test_gradients_are_summed_or_averaged(aggregation, share):
    net = make_net()
    expected = reference(copy.deepcopy(net), list(batches()), share=share)
    fit(make_module(net, in_place(aggregation=aggregation)), batches())
    assert_same_weights(net, expected)


def test_accumulation_averages_batches_and_flushes_the_last():
    net = make_net()
    expected = reference(copy.deepcopy(net), list(batches(3)), accumulate=2)
    module = make_module(net, in_place(), accumulate=2)
    trainer = fit(module, batches(3))
    assert trainer.global_step == 2
    # the last step holds one batch of two: its gradient is halved in both
    assert_same_weights(net, expected)


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_clipping(kind):
    net = make_net()
    if kind == "norm":
        clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=0.1)
    else:
        clip = partial(torch.nn.utils.clip_grad_value_, clip_value=0.01)
    expected = reference(copy.deepcopy(net), list(batches()), clip=clip)
    limit = {"clip_norm": 0.1} if kind == "norm" else {"clip_value": 0.01}
    fit(make_module(net, in_place(), **limit), batches())
    assert_same_weights(net, expected)
    with pytest.raises(wsn.WsnError, match="not both"):
        make_module(net, in_place(), clip_norm=1.0, clip_value=1.0)


def test_bfloat16_amp_trains():
    net = make_net()
    before = [p.clone() for p in net.parameters()]
    fit(make_module(net, in_place()), batches(), precision="bf16-mixed")
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert any(not torch.equal(p, b) for p, b in zip(net.parameters(), before))


def test_the_schedule_is_per_step_and_restarts():
    net = make_net()
    phases = {"a": Phase(1, warmup_epochs=1, lr_scale=2.0), "b": Phase(1)}
    method = Method("m", phases, {"default": RoleLoss()})
    rates = []

    class Spy(SupernetModule):
        def _optimizer_step(self, draws):
            rates.append(self.optimizers().param_groups[0]["lr"])
            super()._optimizer_step(draws)

    module = Spy(
        net,
        method,
        UniformSampler(net.space),
        partial(torch.optim.SGD, lr=0.1),
        lambda progress: 1 - progress,
        warmup_from=0.5,
    )
    fit(module, batches(2), epochs=3)
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.1, 0.1, 0.05])


def test_no_weight_decay_on_norms_and_biases():
    net = make_net()
    decayed, plain = parameter_groups(net, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    names = {id(p): n for n, p in net.named_parameters()}
    assert all("bn" in names[id(p)] or names[id(p)].endswith("bias") for p in plain["params"])
    assert not any("bn" in names[id(p)] or names[id(p)].endswith("bias") for p in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_dropout_of_one_role_leaves_the_others():
    net = make_net()
    net.model.drop_rate = 0.5
    rates = {}
    original = net.view

    def view(subnet):
        made = original(subnet)
        made.register_forward_hook(lambda m, *_: rates.update({subnet: m.drop_rate}))
        return made

    net.view = view
    batch = next(iter(batches()))
    draws = Sandwich(net.space, shared=()).sample(0)
    list(in_place().step(net.train(), batch, draws))
    assert rates[net.space.max()] == 0.5
    assert rates[net.space.min()] == 0.0
    assert net.model.drop_rate == 0.5


def test_errors_in_a_method():
    with pytest.raises(wsn.WsnError, match="no phases"):
        Method("m", {"a": None}, {})
    with pytest.raises(wsn.WsnError, match="sum, mean"):
        Method("m", {"a": Phase(1)}, {}, aggregation="max")
    with pytest.raises(wsn.WsnError, match="target"):
        RoleLoss(distill=1.0)
    with pytest.raises(wsn.WsnError, match="no loss for the role 'min'"):
        Method("m", {"a": Phase(1)}, {"max": RoleLoss()}).role_loss("min")
    net, batch = make_net(), next(iter(batches()))
    for target in ("max", "teacher"):
        method = Method("m", {"a": Phase(1)}, {"default": RoleLoss(distill=1.0, target=target)})
        with pytest.raises(wsn.WsnError, match="before|no teacher"):
            list(method.step(net, batch, [Draw(net.space.min(), "random")]))


def test_a_loss_that_is_not_finite_ends_training_with_one_error():
    net = make_net()
    with torch.no_grad():
        net.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(wsn.WsnError, match=r"max.*nan.*optim.lr"):
        fit(make_module(net, in_place()), batches())


def test_more_batches_a_step_than_an_epoch_has_are_refused():
    module = make_module(make_net(), in_place(), accumulate=4)
    with pytest.raises(wsn.WsnError, match=r"an epoch has 3. Set optim.accumulate=3 or less"):
        fit(module, batches(3))


def test_a_gradient_that_is_not_finite_changes_no_weight():
    """The loss itself is finite: of a square root at zero, say."""

    class Infinite(Method):
        def step(self, net, batch, draws):
            for found in super().step(net, batch, draws):
                zero = next(net.parameters()).flatten()[0]
                yield found._replace(loss=found.loss + (zero - zero).sqrt() * (found.role == "min"))

    net = make_net()
    before = copy.deepcopy(net)
    method = Infinite("sandwich", {"all": Phase(1, roles=["max", "random", "min"])}, {"default": RoleLoss()})
    with pytest.raises(wsn.WsnError, match=r"gradient of 1 parameters, e.g. model.* is not finite at step 0"):
        fit(make_module(net, method), batches(2))
    assert_same_weights(before, net, rtol=0, atol=0)
