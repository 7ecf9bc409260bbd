"""Speculative decoding gives the full network's own greedy text."""

import pytest
import torch
from helpers.nets import BACKBONES, randomise

from wsn import WsnError
from wsn.deploy.speculative import speculate


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def networks(request):
    torch.manual_seed(1)
    net = randomise(BACKBONES[request.param]()).eval()
    for parameter in net.parameters():  # away from ties, and from repeating one token
        parameter.data.mul_(3)
    return net.view(net.space.max()), net.view(net.space.subnet(layers=[0]))


@pytest.mark.parametrize("drafted", [1, 3, 6])
def test_the_text_is_the_full_networks(networks, drafted):
    full, draft = networks
    for seed in range(4):
        prompt = torch.randint(0, 32, (1, 5), generator=torch.Generator().manual_seed(seed))
        mask = torch.ones_like(prompt)  # or transformers takes the padding token for padding
        expected = full.generate(prompt, attention_mask=mask, max_new_tokens=17, do_sample=False, pad_token_id=0)
        found = speculate(full, draft, prompt, 17, drafted)
        assert torch.equal(found.tokens, expected)
        assert 0 <= found.acceptance < 1
        assert found.passes <= 17


def test_a_perfect_draft_needs_few_passes(networks):
    full, _ = networks
    found = speculate(full, full, torch.tensor([[1, 2, 3]]), 16, 4)
    assert found.acceptance == 1
    assert found.passes == 1 + 3  # 1, then 5, 5 and 5 tokens


def test_a_stop_token_ends_the_text(networks):
    full, draft = networks
    whole = speculate(full, draft, torch.tensor([[4, 5]]), 12, 3).tokens[0].tolist()
    stop = whole[6]
    cut = speculate(full, draft, torch.tensor([[4, 5]]), 12, 3, stop=stop).tokens[0].tolist()
    assert cut == whole[: whole.index(stop, 2) + 1]


def test_bad_input_is_refused(networks):
    full, draft = networks
    with pytest.raises(WsnError, match="one sequence"):
        speculate(full, draft, torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(WsnError, match="draft_tokens"):
        speculate(full, draft, torch.zeros(1, 3, dtype=torch.long), draft_tokens=0)
