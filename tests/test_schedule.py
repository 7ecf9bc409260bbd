import pytest
from helpers.configs import composed
from hypothesis import given
from hypothesis import strategies as st

from wsn import Dimension, SearchSpace, WsnError
from wsn.config.make import to_python
from wsn.schedule import (
    Phase,
    constant,
    cosine,
    exponential,
    learning_rate,
    linear,
    phase_at,
    phases_for,
    phases_of,
    step,
    total_epochs,
)  # fmt: skip

PHASES = [Phase(4, warmup_epochs=1, lr_scale=5.0), Phase(2), Phase(3, lr_scale=2.5)]


def rate(epoch, curve=cosine):
    return learning_rate(PHASES, curve, epoch, base=0.2, warmup_from=0.1)


def test_phases():
    assert total_epochs(PHASES) == 10
    assert [phase_at(PHASES, e)[0] for e in range(11)] == [0] * 5 + [1] * 2 + [2] * 3 + [2]
    with pytest.raises(WsnError, match="epochs"):
        Phase(0)


def test_warmup_peak_and_restart():
    assert rate(0) == pytest.approx(0.1)
    assert rate(0.5) == pytest.approx(0.55)
    assert rate(1) == pytest.approx(1.0)
    assert rate(3) == pytest.approx(0.5)
    assert rate(5) == pytest.approx(0.2)  # restarts, at the base rate
    assert rate(7) == pytest.approx(0.5)
    assert rate(10) == pytest.approx(0.0)


@given(st.floats(0, 1))
def test_curves_stay_between_their_ends(progress):
    assert 0 <= cosine(progress) <= 1
    assert cosine(progress, final=0.1) >= 0.1
    assert linear(progress) == pytest.approx(1 - progress)
    assert constant(progress) == 1


def test_one_curve_over_two_phases():
    phases = [
        Phase(3, warmup_epochs=1, lr_scale=5.0),
        Phase(3, lr_scale=5.0, continue_lr=True),
        Phase(1, lr_scale=2.5),
    ]
    rates = [learning_rate(phases, linear, e, 0.2, 0.0) for e in (1, 4, 5.5, 6.999, 7)]
    assert rates == pytest.approx([1.0, 0.5, 0.25, 0.001 / 6, 0.5], abs=1e-6)
    with pytest.raises(WsnError, match="continue_lr"):
        Phase(1, warmup_epochs=1, continue_lr=True)


def test_bignas_floor_is_reached_at_epoch_236_of_360():
    published = [max(0.97 ** (epoch / 2.4), 0.05) for epoch in range(361)]
    assert [exponential(e / 360) for e in range(361)] == pytest.approx(published, rel=1e-3)
    first = next(e for e in range(361) if exponential(e / 360) == 0.05)
    assert first == 237  # 2.4 · ln 0.05 / ln 0.97 = 236.05


def test_step_curve():
    assert [step(p, at=(0.5,), factor=0.1) for p in (0.0, 0.49, 0.5, 1.0)] == [1, 1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("mobilenet", ["full", "kernel", "depth_1", "depth_2", "expand_1", "expand_2"]),
        ("vit", ["full", "depth_1", "depth_2", "expand_1", "expand_2"]),
        ("slimmable", ["full", "expand_1", "expand_2"]),
    ],
)
def test_progressive_shrinking_leaves_out_what_a_space_lacks(backbone, names):
    """Phase by phase the space grows, from the largest network to all of it."""
    dimensions = {
        "mobilenet": [Dimension("kernel", [3, 5], 3, "block"), Dimension("depth", [1, 2, 3], 1, "stage"),
                      Dimension("expand", [2, 3, 5], 3, "block")],
        "vit": [Dimension("depth", [1, 2, 3], 1, "stage"), Dimension("heads", [2, 3, 4], 3, "block"),
                Dimension("patch_size", [4])],
        "slimmable": [Dimension("width", [0.5, 0.75, 1])],
    }  # fmt: skip
    space = SearchSpace(dimensions[backbone], [3])
    phases, left_out = phases_for(phases_of(to_python(composed("method", "ofa").method.phases)), space)
    assert [phase.name for phase in phases] == names
    assert len(phases) + len(left_out) == 6
    spaces = [space.restrict(**phase.choices) for phase in phases]
    sizes = [found.size() for found in spaces]
    assert sizes == sorted(set(sizes))
    assert (spaces[0].size(), spaces[-1]) == (1, space)
