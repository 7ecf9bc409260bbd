import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wsn
from wsn import WsnError
from wsn.samplers.attentive import AttentiveSampler
from wsn.samplers.balanced import BalancedSampler
from wsn.samplers.base import Draw
from wsn.samplers.compound import CompoundSampler
from wsn.samplers.conditional import CostConditional
from wsn.samplers.fair import FairSampler
from wsn.samplers.listed import ListedSampler, listed_subnets
from wsn.samplers.path_importance import PathImportanceSampler
from wsn.samplers.phased import PhasedSampler
from wsn.samplers.shift import ShiftSampler
from wsn.samplers.sorted import SortedSampler
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase
from wsn.space import Dimension, SearchSpace

SANDWICH = ["max", "random", "random", "min"]


def test_draws_depend_on_seed_step_and_slot_only(net):
    a, b = (UniformSampler(net.space, seed=3, roles=["random"] * 4) for _ in range(2))
    random.seed(1)
    first = [a.sample(step) for step in range(20)]
    state = random.getstate()
    assert [b.sample(step) for step in reversed(range(20))] == first[::-1]
    assert random.getstate() == state  # the global generator is left alone
    assert UniformSampler(net.space, seed=4, roles=["random"] * 4).sample(0) != first[0]
    assert len({d.subnet for draws in first for d in draws}) > 70


def test_one_resolution_per_step(net):
    sampler = UniformSampler(net.space, roles=["random"] * 4)
    drawn = [{d.subnet.resolution for d in sampler.sample(step)} for step in range(30)]
    assert all(len(r) == 1 for r in drawn)
    assert set.union(*drawn) == {24, 32}
    free = UniformSampler(net.space, roles=["random"] * 4, shared=())
    assert any(len({d.subnet.resolution for d in free.sample(step)}) == 2 for step in range(10))


def test_phase(net):
    sampler = UniformSampler(net.space, roles=["random"] * 2)
    sampler.enter(Phase(1, roles=["max"], choices={"kernel": "top1", "depth": 4, "expand": [6]}))
    (draw,) = sampler.sample(0)
    assert draw.role == "max"
    assert draw.subnet == net.space.subnet(resolution=draw.subnet.resolution)
    sampler.enter(Phase(1, roles=["random"] * 2))
    assert [d.role for d in sampler.sample(0)] == ["random", "random"]
    assert sampler.space == net.space


def test_errors(net):
    for roles in ([], "max", [1]):
        with pytest.raises(WsnError, match="roles"):
            UniformSampler(net.space, roles=roles)
    with pytest.raises(WsnError, match="kernel"):
        UniformSampler(net.space, shared=["kernel"])
    with pytest.raises(WsnError, match="top1"):
        UniformSampler(net.space).enter(Phase(1, choices={"kernel": "biggest"}))


def test_sandwich_order_and_roles(net):
    sampler = UniformSampler(net.space, roles=SANDWICH, shared=())
    for step in range(5):
        draws = sampler.sample(step)
        assert [d.role for d in draws] == SANDWICH
        assert draws[0].subnet == net.space.max()
        assert draws[3].subnet == net.space.min()
    assert sampler.sample(0)[1] != sampler.sample(0)[2]


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_fair_trains_every_choice_once_per_step(step):
    space = SearchSpace(
        [
            Dimension("depth", [2, 3, 4], 2, "stage"),
            Dimension("kernel", [3, 5, 7], 8, "block"),
            Dimension("expand", [6], 8, "block"),
            Dimension("resolution", [24, 28]),
        ],
        stages=[4, 4],
    )
    draws = FairSampler(space).sample(step)
    assert len(draws) == 3
    for stage in range(2):
        assert sorted(d.subnet.depth[stage] for d in draws) == [2, 3, 4]
    for block in (0, 1, 4, 5):  # in every subnet
        assert sorted(d.subnet.kernel[block] for d in draws) == [3, 5, 7]


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_fair_with_different_numbers_of_choices_draws_their_least_common_multiple(step):
    space = SearchSpace([Dimension("kernel", [3, 5], 2, "block"), Dimension("expand", [3, 4, 6], 2, "block")], [2])
    draws = FairSampler(space).sample(step)
    assert len(draws) == 6
    for block in range(2):
        assert sorted(d.subnet.kernel[block] for d in draws) == [3, 3, 3, 5, 5, 5]
        assert sorted(d.subnet.expand[block] for d in draws) == [3, 3, 4, 4, 6, 6]


def test_fair_refuses_too_many_subnets_and_several_roles():
    space = SearchSpace([Dimension("width", [1, 2, 3, 4, 5]), Dimension("expand", [3, 4, 6], 2, "block")], [2])
    with pytest.raises(WsnError, match="15 subnets"):
        FairSampler(space)
    with pytest.raises(WsnError, match="one role"):
        FairSampler(space.restrict(width="top1"), roles=["max", "random"])


def test_sorted_sub_models_are_nested_and_up_to_160():
    net = wsn.create_supernet("mobilenet", width_mult=0.25, resolution=32)
    sampler = SortedSampler(net.space, levels={"depth": 10, "expand": 16, "kernel": 1})
    models = sampler.sub_models()
    assert len(set(models)) == 160
    assert models[-1] == net.space.max()
    widths = [m for m in models if m.depth == models[-1].depth]
    for small, large in zip(widths, widths[1:]):
        assert all(a <= b for a, b in zip(small.expand, large.expand))
        assert small != large
    drawn = {sampler.sample(step, micro)[0].subnet for step in range(400) for micro in range(4)}
    assert drawn <= set(models)
    assert len(drawn) == 160
    assert len({sampler.sample(7, micro)[0].subnet for micro in range(8)}) > 1  # another one for each micro-batch
    with pytest.raises(WsnError, match="levels"):
        SortedSampler(net.space, levels={"depth": 99})


def test_balanced_covers_the_cost_range_evenly_where_uniform_does_not(net):
    sampler = BalancedSampler(net.space, num_bins=8, pool=1500, shared=())
    sampler.attach(net)
    table = sampler.table(net.space)
    counts = Counter(table.bin(sampler.sample(step)[0].subnet) for step in range(400))
    assert set(counts) == set(range(8))
    assert min(counts.values()) > 20
    uniform = UniformSampler(net.space, shared=())
    middle = Counter(table.bin(uniform.sample(step)[0].subnet) for step in range(400))
    assert max(middle.values()) > 2 * max(counts.values())
    with pytest.raises(WsnError, match="attach"):
        BalancedSampler(net.space).sample(0)


def test_conditional_draws_are_in_their_bin(net, rng):
    table = CostConditional(net, net.space, num_bins=6, pool=1000)
    for wanted in table.bins:
        assert [table.bin(table.draw(rng, wanted)) for _ in range(5)] == [wanted] * 5


def test_attentive_takes_the_best_or_worst_candidate(net):
    samplers = [AttentiveSampler(net.space, pick=p, candidates=3, shared=(), pool=500) for p in ("best", "worst")]
    scored = []

    def score(subnet):
        scored.append(subnet)
        return float(int(subnet.id, 16))

    for sampler, choose in zip(samplers, (min, max)):
        sampler.attach(net)
        scored.clear()
        (draw,) = sampler.sample(3, score=score)
        assert len(scored) == 3
        assert draw.subnet == choose(scored, key=lambda s: int(s.id, 16))
        (bin_,) = {sampler.table(net.space).bin(s) for s in scored}  # one cost
    prior = samplers[0].table(net.space).prior
    assert sum(prior) == pytest.approx(1)
    assert max(prior) > 0.2  # the space's own distribution, not a flat one


def test_shift_moves_probability_to_bins_that_improve(net):
    sampler = ShiftSampler(net.space, num_bins=4, pool=500, rate=0.1, floor=0.25, shared=())
    sampler.attach(net)
    small, large = net.space.min(), net.space.max()
    for accuracy in (0.2, 0.5):
        sampler.on_evaluated([{"arch": s.to_json(), "acc": a} for s, a in ((small, accuracy), (large, 0.8))])
    table = sampler.table(net.space)
    p = sampler.probabilities(table)
    assert sum(p) == pytest.approx(1)
    assert p[0] > 2 * p[3] > 0
    assert sampler.weights[0] / 0.25 > 10  # the others are at the floor
    assert sampler.weights[1:] == [0.25] * 3
    other = ShiftSampler(net.space, num_bins=4, pool=500, shared=())
    other.attach(net)
    other.load_state_dict(sampler.state_dict())
    other.rate, other.floor = sampler.rate, sampler.floor
    assert other.probabilities(other.table(net.space)) == p


def gradients(net, subnet, by_block):
    """Give the blocks of a subnet gradients of known norm, all others none."""
    net.zero_grad()
    for (name, _), (_, _, at) in zip(net.blocks(subnet).items(), net.space.kept(subnet), strict=True):
        weight = net.model.get_submodule(name).conv_dw.weight
        weight.grad = torch.zeros_like(weight)
        weight.grad.view(-1)[0] = by_block[at]


def test_path_importance_follows_gradient_norms():
    net = wsn.create_supernet("mobilenet", width_mult=0.25, resolution=32, num_classes=4)
    sampler = PathImportanceSampler(net.space, seed=1)
    sampler.attach(net)
    uniform = UniformSampler(net.space, seed=1)
    sampler.on_epoch(0, 4)
    assert [sampler.sample(s) for s in range(5)] == [uniform.sample(s) for s in range(5)]  # τ = 0
    subnet = net.space.subnet(kernel=[3, 5] * 10, expand=6, depth=4)
    gradients(net, subnet, [1.0, 3.0] * 10)
    sampler.on_gradients([Draw(subnet, "random")])
    assert sampler.scores["kernel"] == {3: 0.5, 5: 1.5}  # the mean of 0 and the new norm
    assert sampler.scores["depth"] == {4: 1.0}
    sampler.on_epoch(2, 4)
    assert sampler.probabilities["kernel"] == pytest.approx({3: 0.5 / 4 + 0.5 / 3, 5: 1.5 / 4 + 0.5 / 3, 7: 0.5 / 3})
    assert sampler.scores == {}
    kernels = Counter(k for step in range(100) for k in sampler.sample(step)[0].subnet.kernel if k)
    assert kernels[5] > 1.5 * kernels[3] > 1.5 * kernels[7]
    copy = PathImportanceSampler(net.space, seed=1)
    copy.load_state_dict(sampler.state_dict())
    assert [copy.sample(s) for s in range(5)] == [sampler.sample(s) for s in range(5)]


def test_path_importance_with_tau_zero_is_uniform():
    net = wsn.create_supernet("mobilenet", width_mult=0.25, resolution=32, num_classes=4)
    sampler, uniform = PathImportanceSampler(net.space, tau=0.0), UniformSampler(net.space)
    sampler.attach(net)
    for step in range(12):
        sampler.on_epoch(step // 3, 4)
        draws = sampler.sample(step)
        assert draws == uniform.sample(step)
        gradients(net, draws[0].subnet, list(range(20)))
        sampler.on_gradients(draws)


def test_compound_moves_depth_and_widths_of_a_stage_together(net):
    sampler = CompoundSampler(net.space)
    pairs = {2: 3, 3: 4, 4: 6}
    for step in range(10):
        subnet = sampler.sample(step)[0].subnet
        for stage, _, at in net.space.kept(subnet):
            assert subnet.expand[at] == pairs[subnet.depth[stage]]
    assert len({k for step in range(5) for k in sampler.sample(step)[0].subnet.kernel if k}) == 3  # free


def test_listed_is_all_of_the_list_the_largest_first(net):
    sampler = ListedSampler(net.space, roles=["listed"])
    assert sampler.sample(0) == sampler.sample(9) == [Draw(s, "listed") for s in listed_subnets(net.space, None)]
    levels = listed_subnets(net.space, None)
    assert levels[0] == net.space.max()
    assert levels[-1] == net.space.min()
    assert len(levels) == 3
    assert listed_subnets(net.space, ["smallest", {"depth": 2}]) == [net.space.min(), net.space.subnet(depth=2)]
    with pytest.raises(WsnError, match="each once"):
        listed_subnets(net.space, ["smallest", "smallest"])


def test_phased_switches(net):
    def balanced(**kwargs):
        return BalancedSampler(num_bins=2, pool=100, **kwargs)

    sampler = PhasedSampler(net.space, UniformSampler, balanced, switch_at=0.5, shared=())
    sampler.attach(net)
    sampler.on_epoch(0, 4)
    assert sampler.sample(3) == UniformSampler(net.space, shared=()).sample(3)
    sampler.on_epoch(2, 4)
    assert sampler.sample(3) == sampler.parts[1].sample(3)
    sampler.enter(Phase(1, roles=SANDWICH))
    assert [d.role for d in sampler.sample(0)] == SANDWICH
    with pytest.raises(WsnError, match="switch_at"):
        PhasedSampler(net.space, UniformSampler, UniformSampler, switch_at=1.0)


def test_any_sampler_serves_a_sandwich(net):
    """The method's phase says the roles; the sampler only what is random."""
    for make in (BalancedSampler, AttentiveSampler, CompoundSampler, SortedSampler, PathImportanceSampler):
        sampler = make(net.space)
        sampler.attach(net)
        sampler.enter(Phase(1, roles=SANDWICH))
        assert [d.role for d in sampler.sample(0)] == SANDWICH
