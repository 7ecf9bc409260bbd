"""Fidelity of each scheme to its paper, on small networks in process."""

import copy
from functools import partial

import pytest
import torch
from helpers.configs import CONF, OF_LANGUAGE, SAMPLERS, TINY_IMAGES, TINY_LANGUAGE, composed
from helpers.configs import METHODS as ALL_METHODS
from helpers.documents import block
from helpers.nets import make_net
from helpers.training import assert_same_weights, batches, make_trainer, train_a_little
from lightning.pytorch.callbacks import Callback
from torch import nn

import wsn
from wsn.callbacks.data_importance import DataImportance
from wsn.callbacks.delayed_shrinking import DelayedShrinking
from wsn.callbacks.distillation import AlphaDivergence
from wsn.config import build_data, compose
from wsn.errors import WsnError
from wsn.evaluation.evaluate import evaluate
from wsn.evaluation.metrics import ImageMetrics
from wsn.init import zero_gamma
from wsn.losses import adaptive_alpha_divergence
from wsn.methods.base import Method
from wsn.methods.slimmable import Slimmable
from wsn.module import SupernetModule
from wsn.run.train import make_module
from wsn.samplers.listed import ListedSampler
from wsn.samplers.uniform import UniformSampler
from wsn.schedule import Phase, RoleLoss, constant, cosine

METHODS = [name for name in ALL_METHODS if name != "finetune"]  # of a finished run; test_product.py
SANDWICH = ["max", "min", "random", "random"]
DISTIL = RoleLoss(labels=0.0, distill=1.0, target="max", dropout=False)
IN_PLACE = {"max": RoleLoss(), "default": DISTIL}


def module_of(net, method, roles, curve=constant, momentum=0.0, **kwargs):
    """Make a module whose phases have these roles, where they say none."""
    for phase in method.phases:
        phase.roles = roles if phase.roles == ["random"] else phase.roles
    sampler = UniformSampler(net.space, seed=2, shared=())
    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=momentum)
    return SupernetModule(net, method, sampler, optimizer, curve, **kwargs)


class Draws(Callback):
    """Notes the subnets of each batch."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        sample = pl_module.sampler.sample

        def noting(*args):
            self.seen.append([(d.subnet.id, d.role) for d in sample(*args)])
            return sample(*args)

        pl_module.sampler.sample = noting


def quick_of(names, quick):
    """Mark the others of these cases slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


# -- every yaml ------------------------------------------------------------------------------------------


LANGUAGE_MODELS = [
    "experiment=ofa_llama",
    *(f"method={m}" for m in ["bignas", "alphanet", "sortednet", "deps", "soft"]),
]


@pytest.mark.parametrize("choice", quick_of(LANGUAGE_MODELS, ["method=bignas", "experiment=ofa_llama"]))
def test_methods_train_language_models(choice):
    train_a_little(compose(CONF, [choice, *TINY_LANGUAGE]))


@pytest.mark.parametrize(
    "criterion", quick_of(["l2", "taylor", "wanda", "flap", "minitron", "uniql"], ["l2", "taylor", "flap"])
)
def test_channels_are_sorted_by_any_criterion_before_a_phase(criterion):
    """Also where the network's resolution is not the data's: a ViT accepts no other."""
    tiny = ["backbone.depth=[2]", "backbone.resolution=[24]", "backbone.patch_size=[8]", "backbone.embed_dim=[96,192]"]
    data = ["data.images_per_epoch=8", "data.batch_size=4", "data.val_size=8"]
    cfg = compose(CONF, ["method=spos", "backbone=vit", f"method.phases.0.order_channels={criterion}", *tiny, *data])
    train_a_little(cfg)


# Every method trains in test_golden_curves.py, in float64 and with small settings of its own
TRAINED = ["slimmable", "soft"]


@pytest.mark.parametrize("name", quick_of(METHODS, TRAINED))
def test_every_method_trains(name, tmp_path):
    files = [f"paths.output_dir={tmp_path}", f"paths.run_dir={tmp_path}/run"]
    cfg = compose(CONF, [f"method={name}", *files, *(TINY_LANGUAGE if name in OF_LANGUAGE else TINY_IMAGES)])
    if name == "plain":
        cfg.method.subnet = "smallest"
    train_a_little(cfg)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_its_paper_and_its_published_recipe(name):
    text = (CONF / "method" / f"{name}.yaml").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    if name != "plain":
        assert "arXiv:" in "".join(header)
        assert "Differs" in "".join(header)
    if name not in ("plain", "sandwich"):  # baselines
        recipe = text.partition("experiment=")[2].split()[0].rstrip(".")
        assert composed("experiment", recipe).method.name == name


SHAPES = ["method=amoeba", "method.selection.depth=block_influence", "method.selection.batches=1"]
SAMPLED = {  # of language
    "exits": ["method=spos"],
    "granularity": ["method=spos"],
    "resource_balanced": ["method=llm_qfa", "method.batches=1", "sampler.period=6"],
    "shapes": SHAPES,
}


def draws_of(name, tmp_path, stop=None, checkpoint=None):
    files = [f"paths.output_dir={tmp_path}", f"paths.run_dir={tmp_path}/run"]
    language = [*TINY_LANGUAGE, "data.images_per_epoch=12", *files, *SAMPLED.get(name, [])]
    cfg = compose(CONF, [*(language if name in SAMPLED else ["method=spos", *TINY_IMAGES]), f"sampler={name}"])
    torch.manual_seed(0)
    module, draws = make_module(cfg), Draws()
    module.method.phases[0].epochs, module.method.phases[0].warmup_epochs = 3, 0

    class Feedback(Callback):
        def on_train_epoch_end(self, run, pl_module):
            rows = [
                {"split": "val", "arch": s.to_json(), "acc": 0.1 * (run.current_epoch + 1) + i / 9}
                for i, s in enumerate((pl_module.sampler.full_space.min(), pl_module.sampler.full_space.max()))
            ]
            pl_module.on_subnets_evaluated(run, pl_module, rows)

    class Stop(Callback):
        def on_train_batch_end(self, run, *_):
            if run.global_step == stop:
                run.save_checkpoint(tmp_path / "at.ckpt")
                run.should_stop = True
                run.limit_train_batches = 0

    run = make_trainer([draws, Feedback(), Stop()], 3, max_steps=stop or -1)
    run.fit(module, datamodule=build_data(cfg.data), ckpt_path=checkpoint)
    return draws.seen


QUICK = ("path_importance", "phased")  # draws of most depend on the step alone: test_config.py


@pytest.mark.parametrize("name", quick_of(SAMPLERS, QUICK))
def test_every_sampler_goes_on_exactly_after_a_resume(name, tmp_path):
    whole = draws_of(name, tmp_path)
    assert len(whole) == 9
    first = draws_of(name, tmp_path, stop=5)
    rest = draws_of(name, tmp_path, checkpoint=tmp_path / "at.ckpt")
    assert first + rest == whole


# -- DepS ----------------------------------------------------------------------------------------------


def deps(multiplier, ramp=0.0, epochs=2, callbacks=(), curve=cosine, roles=SANDWICH):
    net = make_net()
    phases = {
        "largest": Phase(1, roles=["max"]),
        "shrinking": Phase(epochs, roles=roles, continue_lr=True, fresh_optimizer=False),
    }
    module = module_of(net, Method("deps", phases, IN_PLACE), roles, curve)
    shrinking = DelayedShrinking(ramp, multiplier)
    run = make_trainer([shrinking, *callbacks], 1 + epochs)
    run.fit(module, batches(2))
    return net, module, shrinking


def test_deps_with_beta_zero_is_training_the_largest_alone():
    both, _, _ = deps(multiplier=0.0)
    alone, _, _ = deps(multiplier=1.0, roles=["max"])
    assert_same_weights(both, alone, rtol=0, atol=0)
    other, _, _ = deps(multiplier=1.0)
    assert any(not torch.equal(p, q) for p, q in zip(other.parameters(), alone.parameters()))


def test_deps_ramp_raises_the_effective_rate_linearly_to_the_schedulers():
    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, run, module, *_):
            beta = module.method.role_weights["random"]
            self.seen.append((module.optimizers().param_groups[0]["lr"], beta))

    rates = Rates()
    _, module, shrinking = deps(1.0, ramp=2.0, epochs=4, callbacks=[rates])
    lr, beta = zip(*rates.seen)
    assert beta[:2] == (0.0, 0.0)
    effective = [a * b for a, b in zip(lr, beta)]
    end = module.lr_at(3.0)
    assert effective[2:6] == pytest.approx([0, end / 4, end / 2, 3 * end / 4])
    assert beta[6:] == (1.0,) * 4
    assert lr == pytest.approx([0.05 * cosine(i / 10) for i in range(10)])  # one curve over both phases
    before, after = (shrinking.beta(module, 3.0 + d) for d in (-1e-6, 0.0))
    assert before == pytest.approx(after, rel=1e-4)  # continuous at the end of the ramp


def test_gradients_of_a_subnet_are_masked_to_its_channels():
    net = make_net()
    net(torch.randn(4, 1, 24, 24), net.space.min()).sum().backward()
    block = net.model.blocks[1][0]
    width = net.view(net.space.min()).blocks[1][0].conv_pw.out_channels
    for leaf in (block.conv_pw, block.bn1, block.conv_dw, block.bn2):
        assert leaf.weight.grad[:width].abs().sum() > 0
        assert leaf.weight.grad[width:].abs().sum() == 0
    assert all(p.grad is None for p in net.model.blocks[1][3].parameters())  # skipped


def test_delayed_shrinking_needs_a_switch():
    module = module_of(make_net(), Method("m", {"all": Phase(1)}, IN_PLACE), SANDWICH)
    with pytest.raises(WsnError, match="method=deps"):
        make_trainer([DelayedShrinking()]).fit(module, batches(1))


# -- BigNAS, AlphaNet -------------------------------------------------------------------------------------


def test_zero_gamma_blocks_are_the_identity():
    net = make_net()
    zero_gamma(net)
    seen = 0
    for module in net.model.modules():
        if getattr(module, "has_skip", False):
            x = torch.randn(2, module.conv_pw.in_channels, 6, 6)
            for mode in (True, False):
                assert torch.equal(module.train(mode)(x), x)
            seen += 1
    assert seen >= 15


def test_alpha_divergence_callback_takes_the_place_of_the_methods_loss():
    net = make_net()
    expected = copy.deepcopy(net)
    adaptive = partial(adaptive_alpha_divergence, alpha_min=-0.5, alpha_max=0.5, clip=2.0)
    roles = ["max", "random", "min"]
    kwargs = {"method": Method("a", {"all": Phase(1)}, IN_PLACE, distillation=adaptive), "roles": roles}
    make_trainer().fit(module_of(expected, **kwargs), batches(2))
    module = module_of(net, Method("b", {"all": Phase(1)}, IN_PLACE), roles)
    run = make_trainer([AlphaDivergence(-0.5, 0.5, 2.0)])
    run.fit(module, batches(2))
    assert_same_weights(net, expected, rtol=0, atol=0)
    assert run.callback_metrics["train/alpha_divergence"] >= 0


# -- slimmable -------------------------------------------------------------------------------------------


def test_switchable_norms_are_private():
    net = make_net()
    method = Slimmable(name="s", phases={"all": Phase(1)}, losses={"default": RoleLoss()})
    prepared = method.prepare(net)
    listed = ListedSampler(net.space, roles=["listed"]).subnets
    views = [prepared.view(s) for s in listed]
    stems = [v.bn1 for v in views]
    assert len({id(s.weight) for s in stems}) == len(listed) == 3
    assert all(v.conv_stem.weight is net.model.conv_stem.weight for v in views)  # all else is shared
    before = [s.running_mean.clone() for s in stems]
    views[0].train()(torch.randn(8, 1, 24, 24))
    assert not torch.equal(prepared.view(listed[0]).bn1.running_mean, before[0])
    assert all(torch.equal(prepared.view(s).bn1.running_mean, b) for s, b in zip(listed[1:], before[1:]))
    other = net.space.subnet(kernel=3)
    assert prepared.view(other).bn1.weight is net.model.bn1.weight
    x = torch.randn(2, 1, 24, 24)
    for s in listed:
        assert torch.equal(prepared.view(s).eval()(x), prepared.extract(s).eval()(x))
    assert wsn.cost(prepared, listed[1]) == wsn.cost(net, listed[1])
    with pytest.raises(WsnError, match="order_channels"):
        prepared.order_channels()
    again = method.prepare(make_net())
    again.load_state_dict(prepared.state_dict())
    assert torch.equal(again.view(listed[0]).bn1.running_mean, prepared.view(listed[0]).bn1.running_mean)


def blobs(n, seed):
    """Images whose class is the quarter that is bright."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=generator)
    x = torch.randn(n, 1, 16, 16, generator=generator)
    for i, c in enumerate(y.tolist()):
        x[i, 0, 8 * (c // 2) : 8 * (c // 2) + 8, 8 * (c % 2) : 8 * (c % 2) + 8] += 1.0
    return x, y


@pytest.mark.slow
def test_us_net_fails_without_calibration_and_works_with_it():
    torch.manual_seed(0)
    widths = [0.25, 0.5, 0.75, 1.0]
    net = wsn.create_supernet("slimmable", model="resnet10t", num_classes=4, in_chans=1, width=widths, resolution=16)
    module = module_of(net, Method("us", {"all": Phase(3)}, IN_PLACE), SANDWICH, momentum=0.9)
    x, y = blobs(640, 0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    make_trainer(epochs=3).fit(module, loader)
    test = [blobs(200, 1)]
    subnets = [net.space.subnet(width=w) for w in widths]
    calibrated = [m["acc"] for m in evaluate(net, subnets, test, list(x[:256].split(64)), partial(ImageMetrics, 4))]
    shared = [m["acc"] for m in evaluate(net, subnets, test, None, partial(ImageMetrics, 4))]
    print(calibrated, shared)
    assert min(calibrated) > 0.9
    assert min(shared) < min(calibrated) - 0.15


# -- CompOFA ---------------------------------------------------------------------------------------------


def test_compofa_has_243_subnets_for_each_kernel_setting():
    net = Method("c", {"all": Phase(1)}, IN_PLACE, follow={"expand": "depth"}).prepare(
        wsn.create_supernet("mobilenet", kernel=[3], resolution=32)
    )
    assert net.space.size() == 3**5
    sampler = UniformSampler(net.space)
    pairs = {2: 3, 3: 4, 4: 6}
    for step in range(20):
        subnet = sampler.sample(step)[0].subnet
        assert all(subnet.expand[at] == pairs[subnet.depth[stage]] for stage, _, at in net.space.kept(subnet))
        assert net.view(subnet) is not None
    with pytest.raises(WsnError, match="not of"):
        net.view(wsn.create_supernet("mobilenet", kernel=[3], resolution=32).space.subnet(depth=2, expand=6))


# -- PA&DA -----------------------------------------------------------------------------------------------


def test_data_importance_is_the_mean_size_of_the_logits_gradient():
    class Scores(Callback):
        def __init__(self):
            self.found = {}

        def on_train_batch_end(self, run, module, outputs, batch, batch_idx):
            logits = outputs["logits"].clone().requires_grad_()
            torch.nn.functional.cross_entropy(logits, batch[1], reduction="sum").backward()
            for index, g in zip(run.datamodule.order.batch(run.current_epoch, batch_idx), logits.grad):
                self.found.setdefault((run.current_epoch, index), []).append(g.norm().item())

    cfg = compose(CONF, ["method=pa_da", *TINY_IMAGES])
    scores, importance, data_module = Scores(), DataImportance(tau=0.8), build_data(cfg.data)
    module = make_module(cfg)
    make_trainer([scores, importance], 2).fit(module, datamodule=data_module)
    expected = torch.zeros(data_module.train_size)
    for (epoch, index), values in scores.found.items():
        if epoch == 1:
            expected[index] = sum(values) / len(values)
    expected = 0.8 * expected / expected.sum() + 0.2 / len(expected)
    torch.testing.assert_close(importance.weights, expected, rtol=1e-4, atol=1e-8)
    drawn = [i for b in range(400) for i in data_module.order.batch(9, b)]
    important = expected.topk(24).indices.tolist()
    assert sum(i in important for i in drawn) / len(drawn) > 0.6


# -- compute --------------------------------------------------------------------------------------------


def test_compute_counts_three_forwards_for_each_subnet_and_one_for_a_teacher():
    net = make_net()
    phases = {"full": Phase(1, roles=["max"]), "shrink": Phase(1, roles=["min", "min"])}
    losses = {"max": RoleLoss(), "min": RoleLoss(distill=1.0, target="teacher")}
    module = module_of(net, Method("ofa", phases, losses), ["max"])
    make_trainer(epochs=2).fit(module, batches(3, batch_size=8))
    large, small = (wsn.cost(net, s).macs for s in (net.space.max(), net.space.min()))
    teacher = wsn.cost(net, net.space.subnet(resolution=16)).macs  # at the student's resolution
    assert module.macs_spent == 24 * (3 * large) + 24 * (6 * small + teacher)


def test_norms_inside_a_score_are_left_alone():
    net = make_net()
    method = Method("m", {"all": Phase(1)}, IN_PLACE)
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    loss = method.score(net.train(), next(iter(batches(1))), net.space.min())
    assert loss.item() > 0
    assert not loss.requires_grad
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    assert all(m.momentum != 0 for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_worked_example_of_the_docs_runs(tmp_path):
    """docs/extending.md's own method: the yaml as printed there, in a folder of the user's."""
    text = block("example method", "yaml")
    assert 10 < len(text.splitlines()) <= 30
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text)
    cfg = compose(CONF, ["method=mine", f"hydra.searchpath=[{tmp_path}]", *TINY_IMAGES])
    module = make_module(cfg)
    module.method.phases[0].epochs = 1
    make_trainer().fit(module, datamodule=build_data(cfg.data))
