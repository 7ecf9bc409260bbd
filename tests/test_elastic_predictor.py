"""A front of a language model in one copy of the weights; images are in test_product.py."""

import pytest
import torch
from omegaconf import OmegaConf

import wsn
from wsn.config import build_group, compose
from wsn.deploy.elastic import save_elastic

SIZES = ["vocab_size=32", "num_layers=3", "hidden_size=32", "ffn_size=64", "context=64"]


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A llama whose members are its first layers."""
    overrides = [f"backbone.{s}" for s in SIZES]
    cfg = compose("conf", ["method=soft", "backbone=llama", "data=shakespeare", *overrides])
    OmegaConf.resolve(cfg)
    torch.manual_seed(0)
    net = build_group(cfg.backbone).eval()
    subnets = [net.space.subnet(layers=list(range(n))) for n in (1, 2, 3)]
    rows = [
        {
            "id": s.id,
            "arch": s.to_json(),
            "macs": wsn.cost(net, s).macs,
            "bits_per_byte": 3.0 - i,
            "latency_ms": 1.0 + i,
        }
        for i, s in enumerate(subnets)
    ]
    folder = tmp_path_factory.mktemp("front")
    save_elastic(net, [net.view(s) for s in subnets], rows, cfg, folder)
    return net, subnets, folder


def test_depth_is_switched_between_requests(front):
    net, subnets, folder = front
    predictor = wsn.ElasticPredictor(folder)
    tokens = torch.randint(0, 32, (2, 7))
    for subnet, member in zip(subnets, predictor.members):
        predictor.switch(member=member.id)
        with torch.no_grad():
            expected = net.view(subnet).eval()(input_ids=tokens, use_cache=False).logits
        assert torch.equal(predictor(tokens), expected)
        one = net.extract(subnet).eval().generate(tokens[:1], max_new_tokens=5, do_sample=False, pad_token_id=0)
        again = predictor.generate(tokens[:1], max_new_tokens=5, do_sample=False, pad_token_id=0)
        assert torch.equal(one, again)


def test_memory_is_that_of_the_largest_alone(front):
    net, _, folder = front
    alone = sum(p.numel() * p.element_size() for p in net.extract(net.space.max()).parameters())
    assert wsn.ElasticPredictor(folder).memory_bytes() < 1.05 * alone


def test_quality_is_bits_per_byte(front):
    predictor = wsn.ElasticPredictor(front[2])
    assert predictor.pick(quality=2.5) is predictor.members[1]  # the cheapest with 2.5 or less
    assert predictor.pick(1.5) is predictor.members[0]  # milliseconds


def test_the_smallest_drafts_for_the_largest(front):
    net, _, folder = front
    predictor = wsn.ElasticPredictor(folder)
    tokens = torch.randint(1, 32, (1, 6))
    found = predictor.speculate(tokens, max_new_tokens=12, draft_tokens=3)
    full = net.view(net.space.max()).eval()
    expected = full.generate(tokens, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert torch.equal(found.tokens, expected)
