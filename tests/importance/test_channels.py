"""Importance of channels: definitions, streaming, and that slicing a sorted network is pruning by masks."""

import copy
from functools import partial
from itertools import product

import pytest
import torch
from fetch_weights import default_folder
from helpers.masked import masked
from helpers.nets import randomise
from torch import nn

import wsn
from wsn.data.text import TextData
from wsn.importance import minitron, uniql
from wsn.importance.activations import input_moments
from wsn.importance.named import named_score
from wsn.losses import IGNORED
from wsn.methods.base import Method
from wsn.schedule import IMPORTANCE, Phase, RoleLoss

SIZES = {"vocab_size": 64, "num_layers": 3, "hidden_size": 32, "num_heads": 8, "ffn_size": 64, "context": 32}
GQA = {"kv_heads": 2, "heads": [4, 8]}
NETS = {
    "llama, tied": partial(wsn.create_supernet, "llama", **SIZES, **GQA),
    "llama, untied": partial(wsn.create_supernet, "llama", tie_embeddings=False, **SIZES, **GQA),
    "qwen2, biases": partial(wsn.create_supernet, "qwen2", **SIZES, **GQA),
    "qwen3, norms of heads": partial(wsn.create_supernet, "qwen3", **SIZES, **GQA),
    "gpt2": partial(wsn.create_supernet, "gpt2", heads=[4, 8], **SIZES),
}
LOSS = Method("loss", {"all": Phase(1)}, {"default": RoleLoss()})


def make(name):
    torch.manual_seed(0)
    return randomise(NETS[name]()).eval()


def tokens(count=3, length=9, vocabulary=64):
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, vocabulary, (count, length + 1), generator=generator)
    return drawn[:, :-1].clone(), drawn[:, 1:].clone()


@pytest.mark.parametrize(("name", "criterion"), product(NETS, IMPORTANCE))
def test_slicing_the_sorted_network_is_pruning_by_masks(name, criterion):
    net, batches = make(name), [tokens(), tokens(2)]
    unsorted = copy.deepcopy(net)
    order = net.order_channels(score=named_score(criterion, net, batches, LOSS.largest_loss(net)))
    assert any((p.diff() != 1).any() for permutations in order.values() for p in permutations.values())
    shapes = [{}, {"embed_dim": 24}, {"heads": 4, "ffn": 16}, {"layers": [0, 2], "heads": [4, 8], "embed_dim": 24}]
    x, _ = tokens()
    with torch.no_grad():
        torch.testing.assert_close(net(x).logits, unsorted(x).logits, rtol=1e-4, atol=1e-5)
        for shape in shapes:
            subnet = net.space.subnet(**shape)
            expected = masked(unsorted, subnet, order)(x).logits
            torch.testing.assert_close(net.view(subnet)(x).logits, expected, rtol=1e-4, atol=1e-5)


def test_minitron_by_its_definition():
    net, batches = make("llama, untied"), [tokens()[0], tokens(2)[0]]
    score = minitron(net.model, batches)
    seen = {}

    def note(path, value):
        means = value.abs().mean(1)  # over positions, of each sequence
        seen[path] = seen.get(path, 0) + means.square().sum(0)

    for path, part in net.model.named_modules():
        if path.endswith("norm"):
            part.register_forward_hook(lambda _, args, out, path=path: note(path, out))
        elif path.endswith(("o_proj", "down_proj")):
            part.register_forward_pre_hook(lambda _, args, path=path: note(path, args[0]))
    with torch.no_grad():
        for x in batches:
            net.model(x)
    layer = "model.layers.1"
    torch.testing.assert_close(score(f"{layer}.mlp.down_proj"), seen[f"{layer}.mlp.down_proj"].sqrt())
    o_proj = f"{layer}.self_attn.o_proj"
    groups = seen[o_proj].view(2, -1).sum(1).sqrt()  # L2 over the channels of a group of heads
    torch.testing.assert_close(score.units(o_proj, 1, 2, 16), groups)
    norms = sum(value.sqrt() for path, value in seen.items() if path.endswith("norm"))
    readers = [p for p, m in net.model.named_modules() if isinstance(m, nn.Linear) and m.in_features == 32]
    hidden = sum(score(p) for p in readers if not p.endswith("o_proj"))
    torch.testing.assert_close(hidden, norms)  # each norm once, though three or two layers read it


def test_uniql_by_its_definition():
    """Ridge leverages of the covariance of each reader's input; a copy of a channel halves what both are worth."""
    net, batches, seen = make("llama, untied"), [tokens()[0], tokens(2)[0]], {}
    score = uniql(net.model, batches)
    for path, part in net.model.named_modules():
        if path.endswith(("down_proj", "o_proj", "q_proj")):
            part.register_forward_pre_hook(lambda _, args, path=path: seen.setdefault(path, []).extend(args[0]))
    with torch.no_grad():
        for x in batches:
            net.model(x)
    for path, inputs in seen.items():
        covariance = sum(x.T @ x for x in inputs) / 5
        expected = torch.diag(covariance @ torch.linalg.inv(covariance + torch.eye(len(covariance))))
        torch.testing.assert_close(score(path), expected, rtol=1e-3, atol=1e-4)
    layer = "model.layers.1"
    assert not score(f"{layer}.self_attn.k_proj").any()  # reads what q_proj reads
    groups = score(f"{layer}.self_attn.o_proj").view(2, -1).sum(1)
    torch.testing.assert_close(score.units(f"{layer}.self_attn.o_proj", 1, 2, 16), groups)
    twins = uniql(nn.Linear(3, 1), [torch.randn(50, 1, 1).repeat(1, 1, 3) * torch.tensor([9.0, 9.0, 0.0])])("")
    assert twins[:2].tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert twins[2] == 0


def test_moments_are_streamed_exactly():
    """One number a channel, the same in any number of batches, where the mean is a thousand times the spread."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(4, 2))
    x = 1000 + torch.randn(60, 1, 4)
    whole = input_moments(layer, [x])["0"]
    parts = input_moments(layer, iter(x.split(7)))["0"]
    flat = x.flatten(0, 1).double()
    for found in (whole, parts):
        assert found.count == 60
        torch.testing.assert_close(found.variance.double(), flat.var(0), rtol=1e-3, atol=0)
        torch.testing.assert_close(found.squares.double(), flat.square().sum(0), rtol=1e-5, atol=0)
    assert parts.mean.shape == parts.deviation.shape == (4,)


@pytest.mark.parametrize("criterion", ["wanda", "flap", "minitron", "uniql"])
def test_padding_counts_nowhere(criterion):
    net = make("llama, tied")
    x, labels = tokens(2, 8)
    labels[1, 5:] = IGNORED
    other = x.clone()
    other[1, 5:] = 0  # behind the text
    scores = [named_score(criterion, net, [(t, labels)], LOSS.largest_loss(net)) for t in (x, other)]
    unpadded = named_score(criterion, net, [(x, x)], LOSS.largest_loss(net))
    path = "model.layers.1.mlp.down_proj"
    torch.testing.assert_close(scores[0](path), scores[1](path))
    assert not torch.allclose(scores[0](path), unpadded(path))


def test_calibration_is_streamed():
    """A batch is looked at and let go before the next one is asked for."""
    net, alive = make("llama, tied"), []

    class Batch(tuple):
        def __del__(self):
            alive.remove(id(self))

    def batches():
        for _ in range(5):
            batch = Batch(tokens())
            alive.append(id(batch))
            yield batch
            del batch
            assert len(alive) <= 1

    named_score("flap", net, batches(), LOSS.largest_loss(net))
    assert not alive


def test_an_unknown_criterion():
    with pytest.raises(wsn.WsnError, match="minitron"):
        named_score("luck", make("gpt2"), [], LOSS.largest_loss(make("gpt2")))


@pytest.mark.slow
@pytest.mark.skipif(not (default_folder() / "smollm2").exists(), reason="python tests/fetch_weights.py gets them")
def test_sorting_smollm2_keeps_its_logits():
    """Tied embeddings, grouped queries, RoPE, RMS norms of a real checkpoint; a sorted half beats the unsorted one."""
    pytest.importorskip("gguf", reason="needs gguf and accelerate")
    folder = default_folder() / "smollm2"
    net = wsn.create_supernet("llama", model_dir=folder).eval()
    data = TextData(tokenizer=str(folder), sequence_length=64, val_size=8, eval_batch_size=4)
    batch, held_out = data.val_dataloader()
    small = net.space.subnet(ffn=768)
    with torch.no_grad():
        before, cut = net(held_out[0]).logits, LOSS.score(net, held_out, small)
        for criterion in ("minitron", "flap"):
            net.order_channels(score=named_score(criterion, net, [batch], LOSS.largest_loss(net)))
            after = net(held_out[0]).logits
            assert (after - before).abs().max() < 1e-3 * before.abs().max()
            assert LOSS.score(net, held_out, small) < 0.8 * cut
