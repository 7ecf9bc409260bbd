"""Subnets evaluated together, sharing what they have in common, against each one alone by torch's own functions."""

import random

import pytest
import torch
import torch.nn.functional as F
from helpers.nets import BACKBONES, MORE_BACKBONES, example, randomise
from torch import nn
from torch.optim.swa_utils import update_bn

from wsn.evaluation.evaluate import calibrating, evaluate
from wsn.providers.norms import SwitchableNorms
from wsn.search.moves import mutate
from wsn.supernet.images import at_resolution
from wsn.supernet.leaves import set_dropout
from wsn.supernet.prefix import SharedPrefixes, prefix_order


class Keep(nn.Module):
    """Metrics that are the logits."""

    def __init__(self):
        super().__init__()
        self.logits = []

    def update(self, logits, labels):
        self.logits.append(logits)

    def results(self):
        return torch.cat(self.logits)


def relatives(space, count=2, seed=0):
    """Return random subnets, each with a few mutants."""
    rng = random.Random(seed)
    found = [space.sample(rng) for _ in range(count)]
    found += [mutate(space, s, rng, 0.1) for s in found for _ in range(3)]
    return list(dict.fromkeys(found))


def batches_of(net):
    if net.in_chans:
        images = [F.interpolate(example(net, net.space.max()), (40, 40)) for _ in range(2)]
        return [(x, torch.zeros(len(x), dtype=torch.long)) for x in images], [torch.randn(4, net.in_chans, 40, 40)] * 2
    tokens = [example(net, net.space.max()) for _ in range(2)]
    return [(x, torch.zeros_like(x)) for x in tokens], None


@torch.no_grad()
def one_by_one(net, subnet, batches, calibration):
    plain = net.extract(subnet)
    set_dropout(plain, on=False)
    if calibration and any(isinstance(m, nn.BatchNorm2d) for m in plain.modules()):
        update_bn([at_resolution(x, subnet) for x in calibration], plain)
    plain.eval()
    return torch.cat([net.predict(plain, x, subnet).flatten(0, -2) for x, _ in batches])


@pytest.mark.parametrize("name", [*BACKBONES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_BACKBONES)])
def test_results_are_those_of_one_by_one(name):
    torch.manual_seed(0)
    net = randomise({**BACKBONES, **MORE_BACKBONES}[name]()).eval()
    subnets = relatives(net.space)
    batches, calibration = batches_of(net)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    together = evaluate(net, subnets, batches, calibration, Keep)
    for subnet, logits in zip(subnets, together):
        torch.testing.assert_close(
            logits.flatten(0, -2), one_by_one(net, subnet, batches, calibration), rtol=1e-5, atol=1e-5
        )
    alone = [evaluate(net, [s], batches, calibration, Keep)[0] for s in subnets]
    assert all(torch.equal(a, b) for a, b in zip(together, alone))
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())


def test_a_common_beginning_is_computed_once_and_its_statistics_are_shared(net):
    full = net.space.max()
    late = net.space.subnet(kernel=[*full.kernel[:-1], 3])
    other = net.space.subnet(kernel=[3, *full.kernel[1:]])
    subnets = [full, other, late]
    assert [subnets[i] for i in prefix_order(net, subnets)] == [other, late, full]
    subnets = [other, late, full]
    views = [net.view(s) for s in subnets]
    x = torch.randn(4, 1, 32, 32)
    shared = SharedPrefixes(net, views, subnets)
    with torch.no_grad(), calibrating(views):
        for view in views:
            shared.begin()
            view(x)
    shared.adopt()
    parts = len(shared._parts[0])
    assert shared.computed == 2 * parts - 3 + 8  # stem, norm and first block; from the last elastic block to the end
    assert shared.computed + shared.reused == 3 * parts
    stems = [view.bn1.running_mean for view in views]
    lasts = [view.blocks[5][2].bn1.running_mean for view in views]
    assert lasts[0].data_ptr() != lasts[1].data_ptr() == lasts[2].data_ptr()
    assert stems[0].data_ptr() == stems[1].data_ptr() == stems[2].data_ptr()
    assert stems[0].data_ptr() != net.model.bn1.running_mean.data_ptr()


def test_what_was_written_into_is_computed_again():
    class Careless(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    from wsn.methods.plain import Standalone

    net = Standalone(BACKBONES["mobilenet"](), BACKBONES["mobilenet"]().space.min())
    views = [nn.Sequential(nn.Linear(2, 2), Careless()) for _ in range(2)]
    views[1][0] = views[0][0]
    plain = nn.Sequential(*views[0])
    only = net.space.max()
    x = torch.ones(1, 2)
    expected = plain(x)
    shared = SharedPrefixes(net, views[:1], [only])
    with torch.no_grad():
        for _ in range(2):
            shared.begin()
            torch.testing.assert_close(views[0](x), expected)


def test_private_norms_are_not_shared():
    net = BACKBONES["slimmable_mobilenetv2"]()
    a, b = net.space.max(), net.space.middle()
    net.providers.append(SwitchableNorms(net, [a]))
    assert net.around_blocks(a) != net.around_blocks(b)
    batches, _ = batches_of(net)
    together = evaluate(randomise(net).eval(), [a, b], batches, None, Keep)
    for subnet, logits in zip([a, b], together):
        assert torch.equal(logits, one_by_one(net, subnet, batches, None))
