from functools import partial

import pytest
import torch
from torch import nn

import wsn
from wsn.evaluation.evaluate import calibrate, candidates, evaluate
from wsn.evaluation.metrics import ImageMetrics
from wsn.files import write_csv
from wsn.supernet.images import at_resolution


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return [2 + 3 * torch.randn(16, 1, 32, 32, generator=generator) for _ in range(3)]


def test_calibration_leaves_the_supernet_alone(net, images):
    state = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    loader = [(x, torch.zeros(16, dtype=torch.long)) for x in images]
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            evaluate(net, [net.space.min(), net.space.max()], loader, images, partial(ImageMetrics, 10))
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    net(images[0], net.space.min()).sum().backward()  # and it can still be trained
    net.zero_grad()


def test_calibration_averages_the_statistics_of_the_batches(net, images):
    subnet = net.space.subnet(kernel=3, depth=2, resolution=24)
    view = calibrate(net.view(subnet), images, subnet)
    stem, bn = net.model.conv_stem, view.bn1
    with torch.no_grad():
        out = [stem(at_resolution(x, subnet)) for x in images]
    torch.testing.assert_close(bn.running_mean, torch.stack([o.mean((0, 2, 3)) for o in out]).mean(0))
    torch.testing.assert_close(bn.running_var, torch.stack([o.var((0, 2, 3)) for o in out]).mean(0))
    assert not any(m.training for m in view.modules())


def test_each_subnet_has_its_own_statistics(net, images):
    a, b = (calibrate(net.view(s), images, s) for s in (net.space.max(), net.space.min()))
    assert a.bn1.running_mean.data_ptr() != b.bn1.running_mean.data_ptr()
    shared = {buffer.data_ptr() for buffer in net.buffers()}
    own = [m for view in (a, b) for m in view.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not shared & {m.running_mean.data_ptr() for m in own}


def test_metrics_against_counting_by_hand(net, images):
    labels = [torch.arange(16) % 10 for _ in images]
    subnet = net.space.min()
    (result,) = evaluate(net, [subnet], list(zip(images, labels)), None, partial(ImageMetrics, 10))
    with torch.no_grad():
        logits = torch.cat([net(at_resolution(x, subnet), subnet) for x in images])
    y = torch.cat(labels)
    assert result["acc"] == pytest.approx((logits.argmax(-1) == y).float().mean().item())
    top5 = (logits.topk(5).indices == y[:, None]).any(-1).float().mean().item()
    assert result["acc5"] == pytest.approx(top5)
    assert result["loss"] == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)


def test_subnets_of_a_table_are_candidates(net, tmp_path):
    other = wsn.create_supernet("mobilenet", kernel=[9], resolution=32)
    rows = [{"arch": s.to_json()} for s in (net.space.min(), net.space.max(), other.space.min())]
    write_csv(tmp_path / "table.csv", rows)
    chosen = candidates(net, {"largest": "largest"}, panel=0, table=tmp_path / "table.csv")
    assert [(c.kind, c.subnet) for c in chosen] == [("largest", net.space.max()), ("table", net.space.min())]


def test_the_panel_covers_the_cost_range(net):
    chosen = candidates(net, {"largest": "largest", "smallest": "smallest"}, panel=6)
    assert [c.kind for c in chosen] == ["largest", "smallest", *["random"] * 6]
    macs = [wsn.cost(net, c.subnet).macs for c in chosen]
    low, high = macs[1], macs[0]
    shares = sorted((m - low) / (high - low) for m in macs[2:])
    for i, share in enumerate(shares):
        assert share == pytest.approx((i + 1) / 7, abs=0.12)
    assert candidates(net, {"largest": "largest", "smallest": "smallest"}, panel=6) == chosen


def test_equal_subnets_are_evaluated_once(net):
    chosen = candidates(net, {"largest": "largest", "mine": {"depth": 4, "resolution": 32}}, panel=0)
    assert [c.kind for c in chosen] == ["largest"]
