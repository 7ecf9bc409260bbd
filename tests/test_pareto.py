import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from wsn import Front, WsnError
from wsn.evaluation.pareto import non_dominated


def rows_of(points):
    return [{"id": str(i), "macs": float(m), "acc": float(a)} for i, (m, a) in enumerate(points)]


def clouds(dimensions):
    # Few distinct values, so that ties and duplicates happen.
    shape = st.tuples(st.integers(1, 40), st.just(dimensions))
    return hnp.arrays(float, shape, elements=st.integers(0, 12).map(lambda n: n / 4))


@given(st.one_of(clouds(2), clouds(3)))
@settings(max_examples=200, deadline=None)
def test_non_dominated_as_pymoo(points):
    expected = np.zeros(len(points), dtype=bool)
    expected[NonDominatedSorting().do(points, only_non_dominated_front=True)] = True
    assert (non_dominated(points) == expected).all()


@given(clouds(2))
@settings(max_examples=100, deadline=None)
def test_hypervolume_as_pymoo(points):
    front = Front(rows_of(points))
    expected = HV(ref_point=np.array([2.5, -0.5]))(points * [1, -1])
    assert front.hypervolume({"macs": 2.5, "acc": 0.5}) == pytest.approx(expected)


@given(clouds(4))
@settings(max_examples=60, deadline=None)
def test_hypervolume_in_four_dimensions(points):
    names = ["a", "b", "c", "d"]
    front = Front([dict(zip(names, p)) for p in points], dict.fromkeys(names, "min"))
    expected = HV(ref_point=np.full(4, 2.2))(points)
    assert front.hypervolume(dict.fromkeys(names, 2.2)) == pytest.approx(expected)


def test_front_is_ascending_and_unique():
    front = Front(rows_of([(3, 0.9), (1, 0.5), (1, 0.5), (2, 0.4)]))
    assert [(r["macs"], r["acc"]) for r in front] == [(1, 0.5), (3, 0.9)]
    assert {"macs": 1, "acc": 0.5} in front
    assert {"macs": 2, "acc": 0.4} not in front


def test_best_under_a_budget():
    front = Front(rows_of([(1e6, 0.5), (2e6, 0.7), (3e6, 0.8)]))
    assert front.best(macs=2.5e6)["acc"] == 0.7
    with pytest.raises(WsnError, match="1000000.0"):
        front.best(macs=5e5)


def test_files_round_trip(tmp_path):
    rows = [{**r, "kind": "random", "on_front": True, "latency_ms": None} for r in rows_of([(1, 0.5), (3, 0.9)])]
    front = Front(rows)
    front.to_json(tmp_path / "front.json")
    front.to_csv(tmp_path / "front.csv")
    assert Front.from_json(tmp_path / "front.json").rows == rows
    assert Front.from_csv(tmp_path / "front.csv").rows == rows
    (tmp_path / "front.json").write_text("{")
    for path in ("front.json", "missing.json"):
        with pytest.raises(WsnError, match="front"):
            Front.from_json(tmp_path / path)


def test_merge():
    a, b = Front(rows_of([(1, 0.5), (3, 0.6)])), Front(rows_of([(2, 0.7)]))
    assert [r["macs"] for r in a.merge(b)] == [1, 2]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_row_without_an_objective(value):
    with pytest.raises(WsnError, match="7"):
        Front([{"id": 7, "macs": 1, "acc": value}])


def test_empty():
    assert len(Front([])) == 0
    assert Front([]).hypervolume({"macs": 1, "acc": 0}) == 0
