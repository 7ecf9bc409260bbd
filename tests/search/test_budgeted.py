"""Subnets by a rule: Mix'n'Match within a budget, UniQL's rates, and how users name both."""

import math

import pytest
import torch
from helpers.configs import CONF, LANGUAGE

import wsn
from wsn.config import compose
from wsn.cost_models.counted import WeightBytes
from wsn.run.evaluate import evaluate_run
from wsn.run.finetune import adopt_run
from wsn.run.known import check_spec
from wsn.run.train import train
from wsn.search.budgeted import layer_rates, mix_n_match, mixtures, sorted_subnet
from wsn.search.constraint import Constraint
from wsn.space import SearchSpace

SIZES = {"vocab_size": 40, "num_layers": 6, "hidden_size": 32, "num_heads": 8, "kv_heads": 4, "ffn_size": 64}


@pytest.fixture(scope="module")
def llama():
    return wsn.create_supernet("llama", ffn=[8, 16, 32, 64], heads=[2, 4, 6, 8], **SIZES)


def every_switch(net):
    """All subnets of two adjacent granularities, by hand."""
    choices = (8, 16, 32, 64)
    pairs = [*zip(choices, choices[1:])]
    return {net.space.subnet(ffn=[a] * k + [b] * (6 - k)) for a, b in pairs for k in range(7)}


@pytest.mark.parametrize("key", ["params", "macs", "weight_bytes"])
def test_mix_n_match_is_the_largest_within_the_budget(llama, key):
    """Against all switches: widening, adjacent, within the budget, and the next larger one is not."""
    cost = {
        "params": lambda s: wsn.cost(llama, s).params,
        "macs": lambda s: wsn.cost(llama, s).macs,
        "weight_bytes": lambda s: WeightBytes()(llama, s),
    }[key]
    ordered = sorted(every_switch(llama), key=cost)
    assert [s.id for s in mixtures(llama.space)] == [s.id for s in reversed(ordered)]
    assert len(ordered) == 3 * 6 + 1
    for budget in {cost(s) + extra for s in ordered for extra in (0, 1)}:
        found = mix_n_match(llama, [Constraint(key, "<=", budget)])
        within = [s for s in ordered if cost(s) <= budget]
        assert found == within[-1]
        ffn = found["ffn"]
        levels = [(8, 16, 32, 64).index(v) for v in ffn]
        assert levels == sorted(levels)
        assert levels[-1] - levels[0] <= 1
        assert set(found["heads"]) == {8}
        larger = ordered[len(within) :]
        assert not larger or cost(larger[0]) > budget


def test_all_constraints_hold(llama):
    limits = [
        Constraint("params", "<=", 1e9),
        Constraint("macs", "<=", wsn.cost(llama, llama.space.subnet(ffn=16)).macs),
    ]
    assert mix_n_match(llama, limits) == llama.space.subnet(ffn=16)


@pytest.mark.parametrize(
    ("text", "words"),
    [("params<=10", "smallest has params"), ("speed<=1", "unknown 'speed'"), ("params>=10", "upper limits")],
)
def test_mistakes_in_a_budget(llama, text, words):
    with pytest.raises(wsn.WsnError, match=words):
        mix_n_match(llama, Constraint.parse_all(text))


def test_spaces_without_free_layers(llama):
    bare = SearchSpace([d for n, d in llama.space.dimensions.items() if n != "ffn"], llama.space.stages)
    with pytest.raises(wsn.WsnError, match="FFN of each layer"):
        mixtures(bare)
    with pytest.raises(wsn.WsnError, match="FFN of each layer"):
        mixtures(llama.space.follow(ffn="heads"))
    net = wsn.create_supernet("mobilenet", width_mult=0.2, resolution=[16])
    with pytest.raises(wsn.WsnError, match="heads and FFN"):
        sorted_subnet(net, [0.1])


def test_rates_are_those_of_the_released_formula():
    """phi = L * phi_avg * softmax(-scores / epsilon), at most 0.85; by hand."""
    scores = [0.31, 0.05, 0.02, 0.08]
    for rate in (0.1, 0.3, 0.45):
        weights = [math.exp(-s / 0.1) for s in scores]
        expected = [4 * rate * w / sum(weights) for w in weights]
        found = layer_rates(torch.tensor(scores), rate)
        assert found.tolist() == pytest.approx([min(e, 0.85) for e in expected], rel=1e-5)
        if max(expected) < 0.85:
            assert found.mean().item() == pytest.approx(rate, rel=1e-5)
    assert layer_rates(torch.tensor(scores), 0.6).max() == pytest.approx(0.85)
    assert layer_rates(torch.tensor(scores), 0.3, epsilon=1e6).tolist() == pytest.approx([0.3] * 4, rel=1e-4)


def test_rates_become_the_nearest_choices(llama):
    subnet = sorted_subnet(llama, [0.0, 0.5, 0.85, 0.3, 0.12, 0.2])
    assert subnet["ffn"] == (64, 32, 8, 32, 64, 64)
    assert subnet["heads"] == (8, 4, 2, 6, 8, 6)
    assert subnet["embed_dim"] == 32


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mix", "mix@params<=60e6"),
        ("mix@params=3", "key<=number"),
        ("sorted", "sorted@0.3"),
        ("sorted@30", "sorted@0.3"),
        ("sorted@much", "sorted@0.3"),
        ("route", "route@0.5"),
        ("route@0", "route@0.5"),
        ("route@1.5", "route@0.5"),
    ],
)
def test_a_spec_that_cannot_be_read(spec, words):
    with pytest.raises(wsn.WsnError, match=words):
        check_spec(spec)
    for fine in (
        "mix@params<=6e7",
        "mix@[params<=6e7,macs<=1e8]",
        "sorted@0.3",
        "sorted@.25",
        "route@0.05",
        "route@1",
        "best",
    ):
        check_spec(fine)


def test_users_name_both_of_a_run(tmp_path):
    """Sorted by ridge leverage, trained, then evaluated and fine-tuned at subnets that a rule names."""
    text = " ".join(f"What dreams may come, {n} times over, must give us pause." for n in range(200))
    (tmp_path / "text.txt").write_text(text)
    sizes = {"num_layers": 4, "hidden_size": 32, "num_heads": 4, "ffn_size": 64}
    numbers = {"val_size": 8, "images_per_epoch": 8, "sequence_length": 32, "batch_size": 4}
    overrides = [
        *(f"backbone.{name}={value}" for name, value in sizes.items()),
        *(f"data.{name}={tmp_path}/text.txt" for name in ("train", "test")),
        *(f"data.{name}={value}" for name, value in numbers.items()),
        "method=matformer",
        "method.phases.0.epochs=1",
        "method.phases.0.warmup_epochs=0",
        "method.phases.0.order_channels=uniql",
        "evaluation.panel=0",
        f"paths.output_dir={tmp_path}",
        f"paths.run_dir={tmp_path}/run",
    ]
    train(compose(CONF, [*LANGUAGE, *overrides]))

    def evaluated(spec):
        (found,) = evaluate_run(compose(CONF, [f"run={tmp_path}/run", "split=val", f"subnet='{spec}'"], "evaluate"))
        return found

    largest, smallest = evaluated("largest")["params"], evaluated("smallest")["params"]
    budget = largest - 4000  # an FFN has three weights of 32 for each unit, and choices of 16, 32 and 64 units
    mixed = evaluated(f"mix@params<={budget}")
    assert budget - 3 * 32 * 32 < mixed["params"] <= budget
    assert smallest < evaluated("sorted@0.5")["params"] < mixed["params"]
    start = [f"run={tmp_path}/run", f"subnet='mix@params<={budget}'"]
    assert adopt_run(compose(CONF, ["method=finetune", *start, *LANGUAGE])).subnet == mixed["arch"]
    with pytest.raises(wsn.WsnError, match="the smallest has params"):
        evaluated("mix@params<=1")
