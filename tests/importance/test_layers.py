"""Which layers to remove: dynamic programming against brute force, scores of layers, caches and resumed searches."""

import json
from itertools import combinations

import pytest
import torch
from helpers.nets import randomise

import wsn
from wsn.backbones.transformer import shape_space
from wsn.data.text import TextData
from wsn.importance.depth import depth_rows, kept_layers
from wsn.importance.layers import block_influence, loss_drop, nested_layers, without
from wsn.importance.selection import DEPTH, OnText, Selection
from wsn.losses import IGNORED

SIZES = {"num_layers": 6, "hidden_size": 32, "num_heads": 4, "kv_heads": 2, "ffn_size": 64, "context": 32}


def make():
    torch.manual_seed(0)
    return randomise(wsn.create_supernet("llama", **SIZES)).eval()


def text(**kwargs):
    return TextData(sequence_length=16, val_size=8, eval_batch_size=4, **kwargs)


# -- the dynamic programming, on numbers -----------------------------------------------------------------


def brute_force(count, m, cost, larger):
    sets = list(combinations(range(count - 1), m))
    return (max if larger else min)(cost(s) for s in sets)


@pytest.mark.parametrize("larger", [False, True])
def test_it_is_brute_force_on_six_layers(larger):
    """Each layer's removal costs something of its own: the optimum at every number of removed layers."""
    for seed in range(20):
        costs = torch.randn(6, generator=torch.Generator().manual_seed(seed)).tolist()

        def cost(removed, costs=costs):
            return sum(costs[i] for i in removed)

        rows = depth_rows(6, 4, lambda sets, cost=cost: [cost(s) for s in sets], larger_is_better=larger)
        for m in range(1, 5):
            assert rows[-1][m].value == pytest.approx(brute_force(6, m, cost, larger))
            assert cost(rows[-1][m].removed) == rows[-1][m].value
            assert 5 not in rows[-1][m].removed  # the last is kept


def released(count, most, metric):
    """The released recursion (layer_calib_dp, loss), in other words: masks, a table of values, a table of masks."""
    visited = count - 1
    value = {(n, m): float("inf") for n in range(visited + 1) for m in range(most + 1)}
    mask = {(n, 0): [1] * visited for n in range(visited + 1)}
    for n in range(1, visited + 1):
        for m in range(1, min(n, most) + 1):
            candidate = list(mask[n - 1, m - 1])
            candidate[visited - n] = 0
            found = metric([*candidate, 1])
            better = found < value[n - 1, m]
            value[n, m] = found if better else value[n - 1, m]
            mask[n, m] = candidate if better else mask[n - 1, m]
    return {m: ([*mask[visited, m], 1], value[visited, m]) for m in range(1, most + 1)}


def test_it_is_the_released_recursion_where_layers_interact():
    """Neighbours hurt together, so it is a heuristic: as good as the released one, and exact for one layer."""
    for seed in range(10):
        pairs = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed))

        def cost(removed, pairs=pairs):
            return sum(pairs[i, j].item() for i in removed for j in removed)

        rows = depth_rows(8, 5, lambda sets, cost=cost: [cost(s) for s in sets])
        expected = released(8, 5, lambda mask, cost=cost: cost([i for i, on in enumerate(mask) if not on]))
        for m, (mask, value) in expected.items():
            assert rows[-1][m].value == pytest.approx(value)
            assert kept_layers(8, rows[-1])[8 - m] == [i for i, on in enumerate(mask) if on]
            assert value >= brute_force(8, m, cost, larger=False) - 1e-6
        assert rows[-1][1].value == pytest.approx(brute_force(8, 1, cost, larger=False))


def test_a_value_that_is_not_a_number_loses():
    rows = depth_rows(4, 1, lambda sets: [float("nan") if 2 in s else 1.0 + s[0] for s in sets])
    assert rows[-1][1] == ((0,), 1.0)


def test_rows_go_on_where_they_stopped():
    calls = []

    def measure(sets):
        calls.append(sets)
        return [float(sum(i * i for i in s)) for s in sets]

    whole = depth_rows(7, 3, measure)
    seen, first = list(calls), []
    depth_rows(7, 3, measure, on_row=lambda rows: first.append(list(rows)))
    calls.clear()
    assert depth_rows(7, 3, measure, rows=first[2]) == whole
    assert calls == seen[3:]


# -- on a network ---------------------------------------------------------------------------------------------


def test_block_influence_by_its_definition():
    net, (x, labels) = make(), next(iter(text().val_dataloader()))
    labels = labels.clone()
    labels[0, 9:] = IGNORED
    scores = block_influence(net, [(x[:2], labels[:2]), (x[2:], labels[2:])])
    with torch.no_grad():
        hidden = [net.model.model.embed_tokens(x), *net.hidden_states(net.view(net.space.max()), x, range(1, 7))]
    counts = labels != IGNORED
    for layer in range(6):
        cosine = torch.cosine_similarity(hidden[layer], hidden[layer + 1], dim=-1)[counts]
        assert scores[layer].item() == pytest.approx(1 - cosine.mean().item(), abs=1e-5)


def test_loss_drop_and_a_dead_layer():
    net, data = make(), text()
    with torch.no_grad():
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            net.model.model.layers[3].get_submodule(name).weight.zero_()
    batches = list(data.val_dataloader())
    drops, influence = loss_drop(net, batches, data.metrics), block_influence(net, batches)
    assert drops[3].abs() < 1e-5
    assert influence.argmin() == 3
    assert influence[3] < 1e-5
    full, less = OnText(data, "loss", batches)(net, [net.space.max(), without(net, [1])])
    assert drops[1].item() == pytest.approx(less - full, abs=1e-5)
    assert nested_layers(influence, fewest=5) == {6: [0, 1, 2, 3, 4, 5], 5: [0, 1, 2, 4, 5]}


def selection(tmp_path, run="run", **kwargs):
    settings = {"min_depth": 3, "batches": 2, **kwargs}
    select = Selection(tmp_path / run, tmp_path / "cache", **settings)
    return lambda net: select(net, text())


def test_selected_layers_are_those_of_the_recursion_on_the_metric(tmp_path):
    net, data = make(), text()
    measure = OnText(data, "perplexity", list(data.val_dataloader()))
    expected = released(6, 3, lambda mask: measure(net, [net.space.subnet(layers=mask)])[0])
    chosen = selection(tmp_path)(net)
    assert list(chosen.keep) == [6, 5, 4, 3]
    for m, (mask, value) in expected.items():
        assert chosen.keep[6 - m] == [i for i, on in enumerate(mask) if on]
        assert measure(net, [net.space.subnet(layers=chosen.keep[6 - m])])[0] == pytest.approx(value)
    assert not net.model.training


class KilledError(Exception):
    pass


class Measure:
    """Counts what it measures, and dies after some rows."""

    larger_is_better = False

    def __init__(self, stop=None):
        self.stop, self.calls = stop, []

    def __call__(self, net, subnets):
        if len(self.calls) == self.stop:
            raise KilledError
        self.calls.append([s.id for s in subnets])
        return [float(sum(i for i, on in enumerate(s.layers) if on)) for s in subnets]

    def __repr__(self):
        return "Measure()"


def test_a_killed_selection_goes_on(tmp_path):
    """In another run folder: rows are found by weights, text and settings; when all is there nothing is measured."""
    net, whole = make(), Measure()
    expected = selection(tmp_path / "whole", measure=whole)(net)
    first, rest = Measure(stop=2), Measure()
    with pytest.raises(KilledError):
        selection(tmp_path, measure=first)(net)
    again = selection(tmp_path, "later", measure=rest)(net)
    assert first.calls + rest.calls == whole.calls
    assert again.keep == expected.keep
    idle = Measure(stop=0)
    assert selection(tmp_path, "later", measure=idle)(make()).keep == expected.keep
    assert selection(tmp_path, "third", measure=idle)(net).keep == expected.keep
    assert all(torch.equal(a, b) for a, b in zip(again.means.values(), expected.means.values(), strict=True))
    net.model.lm_head.weight.data[0] += 1  # other weights
    with pytest.raises(KilledError):
        selection(tmp_path, "fourth", measure=idle)(net)


def test_settings_are_checked(tmp_path):
    for wrong in ({"depth": "luck"}, {"width": "taylor"}):
        with pytest.raises(wsn.WsnError, match="must be one of"):
            selection(tmp_path, **wrong)
    with pytest.raises(wsn.WsnError, match="from 1 to 6"):
        selection(tmp_path, min_depth=7)(make())
    with pytest.raises(wsn.WsnError, match="perplexity"):
        selection(tmp_path, metric="beauty")(make())


@pytest.mark.parametrize("depth", ["block_influence", "loss_drop"])
def test_other_rankings_of_layers(tmp_path, depth):
    chosen = selection(tmp_path, depth=depth, width="minitron")(make())
    about = json.loads((tmp_path / "run" / DEPTH).read_text())
    worst = torch.tensor(about["scores"][:5]).argmin().item()
    assert chosen.keep[5] == [i for i in range(6) if i != worst]
    assert all(set(chosen.keep[n]) < set(chosen.keep[n + 1]) for n in (3, 4, 5))


def test_shapes():
    net = make()
    space = shape_space(net.space, {6: range(6), 4: [0, 2, 3, 5]}, [0.5, 0.75, 1.0], {"heads": 2, "ffn": 8})
    assert space.size() == 6
    assert space.max().layers == (1,) * 6
    small = space.subnet(depth=4, width=0.75)
    assert small.layers == (1, 0, 1, 1, 0, 1)
    assert small.ffn == (48, None, 48, 48, None, 48)
    assert small.heads == (4, None, 4, 4, None, 4)  # 0.75 of two groups is both
    assert space.min().heads[0] == 2
    assert space.from_json(space.to_json()) == space
    with pytest.raises(wsn.WsnError, match="must be 1"):
        shape_space(net.space, {6: range(6)}, [0.5], {"ffn": 8})
