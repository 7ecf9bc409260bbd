"""The static router: expected costs, budgets that are met, the roles and phases of its methods, and resumed runs."""

import copy
import random
from collections import Counter

import pytest
import torch
from helpers.configs import CONF, TINY_LANGUAGE
from helpers.nets import make_llm, make_shapes
from helpers.training import make_trainer
from lightning.pytorch.callbacks import Callback

import wsn
from wsn.config import build_data, compose
from wsn.cost_models.counted import KVCacheBytes, Macs, Params, WeightBytes
from wsn.cost_models.macs import cost, cost_table
from wsn.cost_models.runtimes import Timing
from wsn.cost_models.table import LatencyTable, key_of, parts_of_space
from wsn.methods.routed import Routed
from wsn.module import parameter_groups
from wsn.routers.choices import Choices
from wsn.routers.expected import ExpectedCost
from wsn.routers.gumbel import Gumbel
from wsn.routers.static import StaticRouter
from wsn.run.train import make_module
from wsn.samplers.base import Draw
from wsn.samplers.budgets import BudgetSampler
from wsn.schedule import Phase, RoleLoss, phases_of

NETS = ["llama", "untied", "depth", "gpt2", "shapes"]


def net_of(name):
    return make_shapes() if name == "shapes" else make_llm(name)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("model", [Params, Macs])
def test_the_expected_cost_of_one_hot_choices_is_the_subnets(name, model):
    net, rng = net_of(name), random.Random(0)
    expected, choices = ExpectedCost(net, model().part), Choices(net.space)
    for subnet in (net.space.min(), net.space.max(), *(net.space.sample(rng) for _ in range(5))):
        share = model()(net, subnet) / model()(net, net.space.max())
        assert expected(choices.one_hot(subnet)).item() == pytest.approx(share, rel=1e-5)
        assert expected.share(subnet) == pytest.approx(share)


@pytest.mark.parametrize("name", ["depth", "shapes"])
def test_the_expected_cost_is_the_mean_over_drawn_subnets(name):
    net = net_of(name)
    choices, rng = Choices(net.space), random.Random(1)
    shares = {k: torch.randn(len(v)).softmax(-1) for k, v in choices.routed.items()}
    draws = [
        choices.subnet({k: rng.choices(range(len(w)), w.tolist())[0] for k, w in shares.items()}) for _ in range(3000)
    ]
    mean = sum(cost(net, s).params for s in draws) / len(draws) / cost(net, net.space.max()).params
    assert ExpectedCost(net, Params().part)(shares).item() == pytest.approx(mean, rel=0.01)


def test_costs_of_parts():
    net = make_llm("llama")
    parts = cost_table(net).parts(net.space.min())
    assert sum(map(WeightBytes(8).part, parts)) == cost(net, net.space.min()).params
    table = LatencyTable()
    table.entries = {key_of(p): Timing(p.macs / 100, 0.0, 1) for p in parts_of_space(net, patience=200)}
    assert ExpectedCost(net, table.part).share(net.space.min()) == pytest.approx(
        Macs()(net, net.space.min()) / Macs()(net, net.space.max())
    )
    with pytest.raises(wsn.WsnError, match="Params"):
        ExpectedCost(net, KVCacheBytes().part)


def test_budgets_are_one_hot_or_between():
    torch.manual_seed(0)
    router = StaticRouter(Choices(make_llm("llama").space), [1.0, 0.5, 0.8], hidden=8)
    assert router.encode(0.5).tolist() == [1, 0, 0]
    assert router.encode(0.3).tolist() == [1, 0, 0]
    assert router.encode(1.0).tolist() == [0, 0, 1]
    torch.testing.assert_close(router.encode(0.6), torch.tensor([2 / 3, 1 / 3, 0]))
    assert not any(name.endswith("bias") for name, _ in router.named_parameters())
    with pytest.raises(wsn.WsnError, match="budgets"):
        StaticRouter(router.choices, [0.5, 1.5])


def test_annealing_makes_choices_sharp():
    logits = torch.tensor([0.3, 0.0, -0.3]).expand(2000, 3)
    gumbel = Gumbel(temperature=[1.0, 0.05], scale=[1.0, 10.0])
    seen = []
    for progress in (0.0, 0.5, 1.0):
        gumbel.progress = progress
        torch.manual_seed(0)
        weights = gumbel.soft(logits)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2000))
        seen.append((weights.max(-1).values.mean().item(), (weights.argmax(-1) == 0).float().mean().item()))
    assert seen == sorted(seen)
    assert seen[-1][0] > 0.97  # one-hot
    assert seen[-1][1] > 0.9  # and the most likely
    with pytest.raises(wsn.WsnError, match="temperature"):
        Gumbel(temperature=[1.0, 0.0])


def test_budgets_are_drawn_by_the_probabilities_of_the_phase():
    space = make_llm("llama").space
    phases = phases_of({name: Phase(1, roles=["budget"]) for name in ("uniform", "adjusted")})
    sampler = BudgetSampler(
        space, budgets=[1.0, 0.75, 0.5], probabilities={"adjusted": [0.5, 0.3, 0.2]}, full=0.33, roles=["budget"]
    )
    for phase, wanted in zip(phases, ([1 / 3] * 3, [0.5, 0.3, 0.2])):
        sampler.enter(phase)
        count = Counter(sampler.sample(step)[0].role for step in range(4000))
        assert count["max"] / 4000 == pytest.approx(0.33, abs=0.03)
        for budget, probability in zip((1, 0.75, 0.5), wanted):
            assert count[f"budget_{budget:g}"] / 4000 == pytest.approx(0.67 * probability, abs=0.03)
    assert len({sampler.sample(7, micro_batch)[0] for micro_batch in range(30)}) == 4
    with pytest.raises(wsn.WsnError, match=r"probabilities\.x"):
        BudgetSampler(space, budgets=[0.5, 1.0], probabilities={"x": [1.0]})


def method_of(**options):
    return Routed(
        "routed", {"all": Phase(1)}, {"default": RoleLoss()}, budgets=options.pop("budgets", [0.5, 0.75]), **options
    )


def batch():
    tokens = torch.randint(0, 32, (3, 9), generator=torch.Generator().manual_seed(1))
    return tokens[:, :-1], tokens[:, 1:]


def test_a_step_of_the_router_leaves_the_network_and_one_of_the_budget_does_not():
    net = make_llm("llama").train()
    method = method_of()
    assert method.prepare(net) is net
    for role, moves in (("router_0.5", False), ("budget_0.5", True)):
        net.zero_grad()
        (done,) = method.step(net, batch(), [Draw(net.space.max(), role)])
        done.loss.backward()
        assert done.role == role
        assert all(p.grad.abs().max() > 0 for p in net.router.parameters())
        assert any(p.grad is not None for p in net.model.parameters()) == moves
    assert method.macs(net, [Draw(net.space.max(), "router_0.5")]) == 3 * cost(net, net.space.max()).macs


def test_the_cost_loss_is_zero_within_the_tolerance_and_pulls_to_the_largest_at_one():
    net = make_llm("llama")
    method = method_of(budgets=[1.0], tolerance=0.05)
    method.prepare(net)
    method.begin(net, None)
    choices, subnet = Choices(net.space), net.space.middle()
    share, weights = method.cost_of(net).share(subnet), choices.one_hot(subnet)
    assert method.cost_loss(net, weights, share * 1.04).item() == 0
    assert method.cost_loss(net, weights, share / 1.2).item() == pytest.approx(0.2, rel=1e-4)
    assert method.cost_loss(net, weights, share / 0.8).item() == pytest.approx(0.2, rel=1e-4)
    assert method.cost_loss(net, choices.one_hot(net.space.max()), 1.0).item() == 0
    wrong = sum(10 * 2 / len(w) for w in weights.values() if not w[-1])
    assert method.cost_loss(net, weights, 1.0).item() == pytest.approx(1 - share + wrong, rel=1e-4)


def test_the_router_is_a_parameter_group_with_its_own_rate():
    net = make_llm("llama")
    method = method_of(router_lr=50.0)
    method.prepare(net)
    groups = parameter_groups(net, 0.1, method.lr_scales)
    assert [g.get("lr_scale") for g in groups] == [None, None, 50.0]
    assert {id(p) for p in groups[2]["params"]} == {id(p) for p in net.router.parameters()}
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))


def test_budgets_that_no_subnet_meets_and_wrong_backbones():
    method = method_of(budgets=[0.01, 0.9])
    net = method.prepare(make_llm("llama"))
    with pytest.raises(wsn.WsnError, match=r"0\.01.*smallest has"):
        method.begin(net, None)
    with pytest.raises(wsn.WsnError, match="backbone=llama"):
        method_of().prepare(wsn.create_supernet("mobilenet", resolution=32, width_mult=0.25))


@pytest.mark.parametrize(("name", "model"), [("llama", Params), pytest.param("gpt2", Macs, marks=pytest.mark.slow)])
def test_a_trained_router_meets_its_budgets(name, model):
    """Each within 5 %, by the subnet that it chooses for them, whose network it leaves as it was."""
    budgets, steps = [0.45, 0.6, 0.8, 1.0], 150
    net = make_llm(name, num_layers=4, embed_dim=[16, 24, 32], ffn=[12, 24, 36, 48]).train()
    method = method_of(budgets=budgets, cost=model, tolerance=0.03)
    method.prepare(net)
    before = copy.deepcopy(net.model.state_dict())
    optimizer = torch.optim.AdamW(net.router.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = random.Random(0)
    for step in range(steps):
        method.gumbel.progress = step / steps
        (done,) = method.step(net, batch(), [Draw(net.space.max(), f"router_{rng.choice(budgets):g}")])
        done.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    shares = [model()(net, s) / model()(net, net.space.max()) for s in method.chosen(net).values()]
    assert shares == pytest.approx(budgets, rel=0.05)
    assert [method.measure(net, b, [])["cost"] for b in budgets] == pytest.approx(shares)
    assert all(torch.equal(p, before[n]) for n, p in net.model.state_dict().items())  # the router alone was trained


# -- whole runs ------------------------------------------------------------------------------------------

RUN = [
    *TINY_LANGUAGE,
    "backbone.num_layers=2",
    "backbone.ffn_size=48",
    "backbone.embed_dim=[16,32]",
    "data.images_per_epoch=16",
]


def module_of(overrides):
    torch.manual_seed(0)
    return make_module(compose(CONF, [*RUN, *overrides])), build_data(compose(CONF, [*RUN, *overrides]).data)


def callbacks(overrides):
    return make_module(compose(CONF, [*RUN, *overrides])).method.callbacks.values()


def phases(method, *lengths):
    method.phases = [phase for phase, length in zip(method.phases, lengths) if length]
    for phase, length in zip(method.phases, filter(None, lengths)):
        phase.epochs, phase.warmup_epochs = length, 0


class StopAfter(Callback):
    """Saves a checkpoint after a step and ends training."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


class Losses(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, *_):
        names = ("train/loss", "train/lr", "train/router_temperature")
        self.seen.append([trainer.callback_metrics[name].item() for name in names])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["flextron", "flextron_dynamic", "nemotron_elastic"])
def test_a_run_that_is_resumed_in_any_stage_goes_on_exactly(method, tmp_path):
    """Four steps of each stage; stopped in the middle of each."""
    overrides = [f"method={method}"]
    count = len(compose(CONF, [*RUN, *overrides]).method.phases)

    def start(*more):
        module, data = module_of(overrides)
        phases(module.method, *[1] * count)
        losses = Losses()
        return module, data, make_trainer([*callbacks(overrides), losses, *more], count), losses

    module, data, run, whole = start()
    run.fit(module, datamodule=data)
    for step in (2, 6, 10):
        path = tmp_path / f"{step}.ckpt"
        stopped, data, run, _ = start(StopAfter(step, path))
        run.fit(stopped, datamodule=data)
        again, data, run, rest = start()
        run.fit(again, datamodule=data, ckpt_path=path)
        assert rest.seen == whole.seen[step:]
        for (key, value), wanted in zip(again.state_dict().items(), module.state_dict().values()):
            assert torch.equal(value, wanted), key
