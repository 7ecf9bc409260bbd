"""A router is part of a run and of an exported front; Nemotron-Elastic's teacher stays what it was."""

import copy

import pytest
import torch
from helpers.configs import CONF
from helpers.nets import make_llm, tokens
from omegaconf import OmegaConf

import wsn
import wsn.losses
from wsn.config import build, build_group, compose
from wsn.deploy.elastic import save_elastic
from wsn.files import read_csv
from wsn.methods.routed import Routed
from wsn.routers.grouped import run_routed
from wsn.run.evaluate import evaluate_run
from wsn.run.run import open_run
from wsn.run.train import train
from wsn.samplers.base import Draw
from wsn.schedule import Phase, RoleLoss

SIZES = ["vocab_size=32", "num_layers=3", "hidden_size=32", "ffn_size=64", "context=32"]


def exported(tmp_path, method):
    overrides = [f"method={method}", "backbone=llama", "data=shakespeare", *(f"backbone.{s}" for s in SIZES)]
    cfg = compose(CONF, overrides)
    OmegaConf.resolve(cfg)
    torch.manual_seed(0)
    net = build(cfg.method).prepare(build_group(cfg.backbone)).eval()
    with torch.no_grad():
        for parameter in net.router.parameters() if hasattr(net, "router") else ():
            parameter.mul_(10)
    subnet = net.space.max()
    row = {"id": subnet.id, "arch": subnet.to_json(), "macs": 1, "bits_per_byte": 3.0}
    save_elastic(net, [net.view(subnet)], [row], cfg, tmp_path)
    return net, wsn.ElasticPredictor(tmp_path)


def test_a_predictor_routes_by_budget(tmp_path):
    net, predictor = exported(tmp_path, "flextron")
    chosen = {b: predictor.route(b) for b in (0.5, 0.75, 1.0)}
    assert chosen == {b: net.router.route(b) for b in chosen}
    assert len(set(chosen.values())) > 1
    for budget, subnet in chosen.items():
        with torch.no_grad():
            expected = net.view(subnet)(input_ids=tokens(), use_cache=False).logits
        assert torch.equal(predictor.routed(tokens(), budget), expected)


def test_a_predictor_runs_a_dynamic_router_in_groups(tmp_path):
    net, predictor = exported(tmp_path, "flextron_dynamic")
    logits, subnets = run_routed(net, net.router, tokens(6), 0.5)
    assert len(set(subnets)) > 1
    torch.testing.assert_close(predictor.routed(tokens(6), 0.5), logits)
    with pytest.raises(wsn.WsnError, match="routed"):
        predictor.route(0.5)


def test_a_front_without_a_router(tmp_path):
    _, predictor = exported(tmp_path, "soft")
    with pytest.raises(wsn.WsnError, match="method=flextron"):
        predictor.route(0.5)


@pytest.mark.slow
def test_a_budget_names_the_routers_subnet_of_a_run(tmp_path):
    lengths = [f"method.phases.{i}.epochs=1" for i in range(3)]
    sizes = ["data.images_per_epoch=8", "data.val_size=8", "data.batch_size=4", "evaluation.panel=0"]
    overrides = ["method=flextron", "data=shakespeare", "backbone=llama", *(f"backbone.{s}" for s in SIZES[1:])]
    train(compose(CONF, [*overrides, *sizes, *lengths, f"paths.run_dir={tmp_path}"]))
    run = open_run(tmp_path)
    router = run.net.router
    for budget in (0.6, 1.0):
        assert run.find(f"route@{budget}") == router.route(budget)
    rows = {row["kind"]: row for row in read_csv(tmp_path / "subnets.csv") if row["split"] == "test"}
    named = {row["arch"] for kind, row in rows.items() if kind.startswith("budget_")}
    assert named  # what the router chooses is evaluated, where it is none of the named subnets
    again = evaluate_run(compose(CONF, [f"run={tmp_path}", "panel=0"], "evaluate"))
    assert {(row["kind"], row["arch"]) for row in again} == {(kind, row["arch"]) for kind, row in rows.items()}
    assert named <= {router.route(budget).to_json() for budget in (0.5, 0.75, 1.0)}


@pytest.mark.parametrize("at_start", [True, False])
def test_the_teacher_is_frozen_once_and_budgets_learn_from_it(at_start):
    net = make_llm("llama").train()
    budget = RoleLoss(labels=0.0, distill=1.0, target="teacher")
    kl = wsn.losses.kl_divergence
    method = Routed(
        "n", {"a": Phase(1), "b": Phase(1)}, {"budget": budget}, budgets=[0.5, 1.0], distillation=kl, alpha=0.0,
        teacher_at_start=at_start,
    )  # fmt: skip
    method.prepare(net)
    method.begin(net, None)
    assert (method.teacher is not None) == at_start
    if not at_start:
        method.freeze_teacher(net)
    before = copy.deepcopy(method.teacher.state_dict())
    with torch.no_grad():
        net.model.lm_head.weight.add_(0.1 * torch.randn_like(net.model.lm_head.weight))
    method.freeze_teacher(net)  # a later phase
    assert all(torch.equal(p, before[n]) for n, p in method.teacher.state_dict().items())
    inputs = tokens()[:, :-1]
    method.gumbel.hard = 1.0
    torch.manual_seed(3)
    (done,) = method.step(net, (inputs, tokens()[:, 1:]), [Draw(net.space.max(), "budget_0.5")])
    with torch.no_grad():
        p = method.teacher(input_ids=inputs).logits.flatten(0, 1).log_softmax(-1)
    q = done.logits.log_softmax(-1)
    assert done.loss.item() == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-4)  # forward
    done.loss.backward()
    assert all(w.grad is None for w in method.teacher.parameters())
    assert all(w.grad.abs().max() > 0 for w in net.router.parameters())
