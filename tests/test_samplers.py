import random

import pytest

from wsn import WsnError
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase


def test_draws_depend_on_seed_step_and_slot_only(net):
    a, b = (UniformSampler(net.space, seed=3, num_subnets=4) for _ in range(2))
    random.seed(1)
    first = [a.sample(step) for step in range(20)]
    state = random.getstate()
    assert [b.sample(step) for step in reversed(range(20))] == first[::-1]
    assert random.getstate() == state  # the global generator is left alone
    assert UniformSampler(net.space, seed=4, num_subnets=4).sample(0) != first[0]
    assert len({d.subnet for draws in first for d in draws}) > 70


def test_one_resolution_per_step(net):
    sampler = UniformSampler(net.space, num_subnets=4)
    drawn = [{d.subnet.resolution for d in sampler.sample(step)} for step in range(30)]
    assert all(len(r) == 1 for r in drawn)
    assert set.union(*drawn) == {24, 32}
    free = UniformSampler(net.space, num_subnets=4, shared=())
    assert any(len({d.subnet.resolution for d in free.sample(step)}) == 2 for step in range(10))


def test_phase(net):
    sampler = UniformSampler(net.space, num_subnets=2)
    sampler.enter(Phase("full", 1, num_subnets=1, role="max", choices={"kernel": "top1", "depth": 4, "expand": [6]}))
    (draw,) = sampler.sample(0)
    assert draw.role == "max"
    assert draw.subnet == net.space.subnet(resolution=draw.subnet.resolution)
    sampler.enter(Phase("all", 1))
    assert [d.role for d in sampler.sample(0)] == ["random", "random"]
    assert sampler.space == net.space


def test_errors(net):
    with pytest.raises(WsnError, match="num_subnets"):
        UniformSampler(net.space, num_subnets=0)
    with pytest.raises(WsnError, match="kernel"):
        UniformSampler(net.space, shared=["kernel"])
    with pytest.raises(WsnError, match="top1"):
        UniformSampler(net.space).enter(Phase("x", 1, choices={"kernel": "biggest"}))
