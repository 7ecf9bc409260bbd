"""The bookkeeping of a search: constraints, counting, repeating."""

import pytest

from wsn import WsnError
from wsn.config import build, compose
from wsn.search.constraint import Constraint
from wsn.search.problem import Problem, Spent, check_objectives
from wsn.search.strategies import skeletons
from wsn.space import Dimension, SearchSpace

STRATEGIES = ["random", "evolution", "aging_evolution", "nsga2", "nsga3", "local", "coarse_to_fine", "linas"]
SPACE = SearchSpace(
    [Dimension("depth", [1, 2, 3], 2, "stage"), Dimension("kernel", [3, 5, 7], 6, "block"),
     Dimension("resolution", [16, 24, 32])],
    [3, 3],
)  # fmt: skip


def macs(subnet):
    return subnet.resolution**2 * sum(k * k for k in subnet.kernel if k)


def acc(subnet):
    """A quality with diminishing returns, in which the first kernel matters more than the others."""
    gain = sum((k - 2) * (3 if i == 0 else 1) for i, k in enumerate(subnet.kernel) if k)
    return 1 - 1 / (1 + 0.05 * gain + 0.02 * subnet.resolution)


class Counted:
    """Evaluates subnets and counts how often each one was."""

    def __init__(self):
        self.seen = []

    def __call__(self, subnets):
        for s in subnets:
            self.seen.append(s)
            yield s, {"id": s.id, "acc": acc(s)}


def problem(evaluations=60, constraints="macs<=60000", known=(), evaluate=None, seed=0):
    return Problem(
        SPACE, evaluate or Counted(), {"macs": macs}, {"macs": "min", "acc": "max"},
        Constraint.parse_all(constraints), evaluations, seed, known,
    )  # fmt: skip


def strategy(name):
    node = compose("conf", [f"search={name}", "run=x"], "search").search
    small = {"population": 16, "generations": 4} if name == "linas" else {}
    return build({**{k: v for k, v in node.items() if k != "name"}, **small})


def run(name, **kwargs):
    found = problem(**kwargs)
    with pytest.raises(Spent):
        strategy(name).run(found)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macs<=3e8", ("macs", "<=", 3e8)),
        (" latency_ms < 20 ", ("latency_ms", "<=", 20)),
        ("acc>=0.7", ("acc", ">=", 0.7)),
    ],
)
def test_constraints_are_read(text, expected):
    found = Constraint.parse(text)
    assert (found.key, found.sign, found.limit) == expected


@pytest.mark.parametrize("text", ["macs", "macs=3", "macs<=many", "<=3", "macs<=3<=4"])
def test_bad_constraints_say_what_is_allowed(text):
    with pytest.raises(WsnError, match="key<=number"):
        Constraint.parse(text)


def test_a_list_of_constraints_may_be_text():
    a, b = Constraint.parse_all("[macs<=3e8, acc>=0.7]")
    assert (a.key, b.key) == ("macs", "acc")
    assert Constraint.parse_all(["macs<=3e8"]) == [a]
    assert Constraint.parse_all(None) == []


def test_an_impossible_budget_names_the_smallest():
    least = macs(SPACE.min())
    with pytest.raises(WsnError, match=rf"no subnet with macs<=10: the smallest has macs {least}"):
        problem(constraints="macs<=10")
    with pytest.raises(WsnError, match="unknown 'latency_ms' in latency_ms<=3"):
        check_objectives(problem(constraints="latency_ms<=3"), ["acc"])
    with pytest.raises(WsnError, match="two or more"):
        Problem(SPACE, Counted(), {"macs": macs}, {"macs": "min"})


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_keeps_to_the_constraints_and_counts(name):
    found = run(name)
    seen = found._evaluate.seen
    assert len(seen) == len(set(seen)) == 60  # none twice
    assert all(macs(s) <= 60000 for s in seen)
    assert all(row["macs"] == macs(s) and row["acc"] == acc(s) for s, row in found.rows.items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_is_repeated_on_known_rows_and_goes_on(name):
    whole = run(name)
    kept = dict(list(whole.rows.items())[:25])
    again = Counted()
    rest = run(name, known=kept.items(), evaluate=again)
    assert set(rest.rows) == set(whole.rows)  # the same way
    assert len(again.seen) == 35
    assert not set(again.seen) & set(kept)
    assert list(run(name, evaluations=25).rows) == list(kept)  # fewer evaluations are the beginning of more


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_order_in_which_results_arrive_changes_nothing(name):
    class Backwards(Counted):
        def __call__(self, subnets):
            return super().__call__(subnets[::-1])

    assert list(run(name, evaluate=Backwards()).rows) == list(run(name).rows)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "random"])
def test_strategies_are_better_than_chance(name):
    def volume(which, seed):
        return run(which, seed=seed, evaluations=80).front().hypervolume({"macs": 60000, "acc": 0.0})

    def best(which, seed):
        return max(row["acc"] for row in run(which, seed=seed, evaluations=80).rows.values())

    measure = best if "evolution" in name else volume  # evolution has one objective
    assert sum(measure(name, s) for s in range(3)) > sum(measure("random", s) for s in range(3))


def test_an_exhausted_space_ends_the_search():
    found = run("random", evaluations=10**6, constraints="macs<=16500")
    assert len(found.rows) < 400


def test_tight_constraints_are_met():
    found = problem(constraints="macs<=7000")
    for draw in (found.sample, lambda: found.mutate(SPACE.max()), lambda: found.crossover(SPACE.max(), SPACE.max())):
        assert macs(draw()) <= 7000


def test_skeletons_are_the_grid():
    assert len(skeletons(problem())) == 3 * 3 * 3
    assert all(len(set(s.depth)) == 1 for s in skeletons(problem()))


def test_the_sampled_space_is_covered_evenly():
    found = problem(constraints=None)
    sizes = [macs(found.sample()) for _ in range(300)]
    low, high = macs(SPACE.min()), macs(SPACE.max())
    shares = sorted((size - low) / (high - low) for size in sizes)
    assert shares[15] < 0.1
    assert shares[-15] > 0.6
