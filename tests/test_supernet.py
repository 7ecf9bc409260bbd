import random
import threading

import lightning as L
import pytest
import torch
from helpers.nets import randomise
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

import wsn
from wsn.config import CONF
from wsn.methods.plain import Standalone


def same(a, b):
    return torch.equal(a, b)


def test_view_equals_extract_exactly(net, rng):
    for _ in range(10):
        subnet = net.space.sample(rng)
        x = torch.randn(2, 1, subnet.resolution, subnet.resolution)
        view, plain = net.view(subnet), net.extract(subnet)
        assert type(view) is type(plain) is MobileNetV3
        with torch.no_grad():
            assert same(view(x), plain(x))
            assert same(net(x, subnet), plain(x))


def test_training_mode_agrees_too(net, rng):
    subnet, x = net.space.sample(rng), torch.randn(4, 1, 32, 32)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    view, plain = net.view(subnet).train(), net.extract(subnet).train()
    view.drop_rate = plain.drop_rate = 0.0
    assert same(view(x), plain(x))
    for a, b in zip(view.buffers(), plain.buffers(), strict=True):
        assert same(a, b)
    net.load_state_dict(state)


def test_the_largest_is_timms_own_network(net):
    assert type(net.model) is MobileNetV3
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert same(net(x), net.model(x))
        assert same(net(x, net.space.max()), net.model(x))
    assert list(net.extract(net.space.max()).state_dict()) == list(net.model.state_dict())


def test_gradients_reach_the_shared_tensors_and_only_the_active_part(net):
    subnet = net.space.subnet(depth=2, kernel=5, expand=3, resolution=32)
    x = torch.randn(4, 1, 32, 32)
    plain = net.extract(subnet)
    plain(x).square().sum().backward()
    net.zero_grad()
    net(x, subnet).square().sum().backward()
    block, alone = net.model.blocks[2][1], plain.blocks[2][1]
    middle = alone.conv_pw.out_channels
    torch.testing.assert_close(block.conv_pw.weight.grad[:middle], alone.conv_pw.weight.grad)
    assert not block.conv_pw.weight.grad[middle:].any()
    assert not block.bn2.weight.grad[middle:].any()
    torch.testing.assert_close(block.conv_pwl.weight.grad[:, :middle], alone.conv_pwl.weight.grad)
    assert all(p.grad is None for p in net.model.blocks[2][2].parameters())  # skipped
    assert net.kernel_matrices["blocks_2_1"]["7to5"].grad is not None
    assert net.kernel_matrices["blocks_2_1"]["5to3"].grad is None
    net.zero_grad()


def test_kernel_matrices_start_as_a_centre_crop():
    net = wsn.create_supernet("mobilenet", width_mult=0.25)
    small = net.extract(net.space.subnet(kernel=3)).blocks[3][1].conv_dw.weight
    assert same(small, net.model.blocks[3][1].conv_dw.weight[..., 2:5, 2:5])
    assert small.shape[-1] == 3


def test_two_views_alive_at_once_on_threads(net):
    a, b = net.space.max(), net.space.min()
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = [net.extract(s)(x) for s in (a, b)]
        views = [net.view(a), net.view(b)]
        got = [None, None]

        def run(i):
            with torch.no_grad():
                got[i] = views[i](x)

        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert all(same(g, e) for g, e in zip(got, expected))


def test_modes_and_rates_of_a_view_are_its_own(net):
    view = net.view(net.space.min())
    view.train()
    view.drop_rate = 0.7
    assert not net.training
    assert not net.model.blocks[0][0].bn1.training
    assert net.model.drop_rate == 0.0


def test_hooks_of_a_view_are_its_own(net):
    called = []
    view = net.view(net.space.min())
    view.register_forward_hook(lambda *_: called.append("view"))
    view.conv_stem.register_forward_pre_hook(lambda *_: called.append("stem"))
    x = torch.randn(1, 1, 32, 32)
    net(x, net.space.min())
    assert called == []
    view(x)
    assert called == ["stem", "view"]


def test_views_made_in_inference_mode_do_not_reach_training(net):
    subnet, x = net.space.min(), torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        net.view(subnet)(x)
        plain = net.extract(subnet)
    net(x, subnet).sum().backward()
    plain(x).sum().backward()
    net.zero_grad()


class Validating(L.LightningModule):
    """Cuts, runs and extracts subnets in validation, which Lightning runs in inference mode."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, batch, _):
        return self.net(batch[0], self.net.space.sample(random.Random(0))).square().mean()

    def validation_step(self, batch, _):
        for subnet in (self.net.space.min(), self.net.space.max()):
            self.log("val", self.net.view(subnet)(batch[0]).mean())
            self.extracted = self.net.extract(subnet)
            wsn.cost(self.net, subnet)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.01)


def test_lightning_validation_between_training_steps(tmp_path):
    net = wsn.create_supernet("mobilenet", num_classes=4, width_mult=0.25, resolution=32, reduction=16)
    module = Validating(net)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 3, 32, 32)), batch_size=4)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data, data)
    assert trainer.global_step == 4
    module.extracted.train()(torch.randn(2, 3, 32, 32)).sum().backward()


def test_extract_is_independent(net):
    plain = net.extract(net.space.min())
    shared = {p.data_ptr() for p in net.parameters()} | {b.data_ptr() for b in net.buffers()}
    assert all(isinstance(p, nn.Parameter) and p.is_leaf and p.requires_grad for p in plain.parameters())
    assert not shared & {t.data_ptr() for t in [*plain.parameters(), *plain.buffers()]}


def test_importance_ordering_keeps_the_function():
    torch.manual_seed(0)
    net = randomise(wsn.create_supernet("mobilenet", num_classes=5, width_mult=0.25, resolution=32)).eval()
    x = torch.randn(2, 3, 32, 32)
    medium = net.space.subnet(expand=4)
    with torch.no_grad():
        largest, trained = net(x), net(x, medium)
        net.order_channels(keep=net.space.restrict(expand="top2"))
        torch.testing.assert_close(net(x), largest)
        torch.testing.assert_close(net(x, medium), trained)  # band-preserving
        net.order_channels()
        torch.testing.assert_close(net(x), largest)
        assert not torch.allclose(net(x, medium), trained, atol=1e-3)
    for path in net.elastic:
        consumer = net.model.get_submodule(path).conv_pwl.weight.abs().sum((0, 2, 3))
        assert (consumer.diff() <= 1e-6).all()


def test_a_subnet_of_another_space_is_refused(net):
    other = wsn.create_supernet("mobilenet", width_mult=0.25, kernel=[3, 9], resolution=32)
    with pytest.raises(wsn.WsnError, match="not of the supernet's space"):
        net.view(other.space.max())


def test_standalone(net):
    subnet = net.space.subnet(kernel=3, depth=2)
    alone = Standalone(net, subnet).eval()
    assert alone.space.size() == 1
    assert wsn.cost(alone, subnet) == wsn.cost(net, subnet)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert same(alone(x, subnet), net(x, subnet))
    assert "kernel_matrices" not in dict(alone.named_children())


def test_unknown_names():
    with pytest.raises(wsn.WsnError, match="Did you mean 'mobilenet'"):
        wsn.create_supernet("mobilenett")
    with pytest.raises(wsn.WsnError, match="width_mult"):
        wsn.create_supernet("mobilenet", width=1.0)
    assert wsn.list_supernets("mobilenet*") == ["mobilenet"]


def test_supernets_are_called_as_the_backbones_of_conf():
    assert wsn.list_supernets() == sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
    assert type(wsn.create_supernet("mobilenetv3", width_mult=0.25)) is type(wsn.create_supernet("mobilenet"))
