import itertools
import json
import pickle
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsn import Dimension, SearchSpace, WsnError
from wsn.backbones.once_for_all import once_for_all_space
from wsn.search.moves import crossover, mutate, neighbours
from wsn.space.kinds import KINDS, choices_by_name, leaders_by_name, of_kind

OFA = once_for_all_space((2, 3, 4), (3, 5, 7), (3, 4, 6), range(128, 225, 4), 5)
TINY = SearchSpace(
    [
        Dimension("depth", [1, 2], 2, "stage"),
        Dimension("kernel", [3, 5], 4, "block"),
        Dimension("resolution", [24, 32]),
    ],
    [2, 2],
)


def enumerate_space(space):
    dims = [d for dim in space.dimensions.values() for d in dim.choices]
    names = [(n, len(d)) for n, d in space.dimensions.items()]
    found = set()
    for values in itertools.product(*dims):
        at, kwargs = 0, {}
        for name, count in names:
            kwargs[name] = values[at : at + count]
            at += count
        found.add(space.subnet(**kwargs))
    return found


def test_size_is_exact():
    assert TINY.size() == len(enumerate_space(TINY)) == 2 * (2 + 4) ** 2
    # 9 choices a block, 2 to 4 blocks a stage, 25 resolutions
    assert OFA.size() == 25 * (9**2 + 9**3 + 9**4) ** 5
    assert OFA.restrict(resolution=224).size() == pytest.approx(2.18e19, rel=0.01)  # "about 2e19" in the paper


def test_scalars_and_lists_in_network_order():
    subnet = OFA.subnet(depth=[2, 3, 3, 4, 4], kernel=[3] * 10 + [7] * 10, expand=6, resolution=160)
    assert subnet.depth == (2, 3, 3, 4, 4)
    assert subnet.kernel == (3, 3, None, None, 3, 3, 3, None, 3, 3, 7, None, *[7] * 8)
    assert subnet["resolution"] == subnet.resolution == 160


def test_skipped_blocks_are_ignored_whatever_they_say():
    kernel = [3, 3, 999, None] + [5] * 16
    a = OFA.subnet(depth=[2, 4, 4, 4, 4], kernel=kernel)
    b = OFA.subnet(depth=[2, 4, 4, 4, 4], kernel=[3, 3, 7, 7] + [5] * 16)
    assert a == b
    assert hash(a) == hash(b)
    assert a.id == b.id
    assert len({a, b}) == 1


@given(st.integers(0, 2**32), st.floats(0, 1) | st.none())
@settings(max_examples=60, deadline=None)
def test_samples_round_trip(seed, bias):
    subnet = OFA.sample(Random(seed), size_bias=bias)
    assert subnet in OFA
    assert OFA.subnet(**json.loads(subnet.to_json())) == subnet
    assert OFA.subnet(**subnet) == subnet
    assert pickle.loads(pickle.dumps(subnet)) == subnet
    assert len(OFA.encode(subnet)) == 5 * 3 + 20 * 3 + 20 * 3 + 25
    assert sum(OFA.encode(subnet)) == 5 + 2 * sum(subnet.depth) + 1


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_variation_stays_in_the_space(seed):
    rng = Random(seed)
    a, b = OFA.sample(rng), OFA.sample(rng)
    assert mutate(OFA, a, rng, prob=0.0) == a
    assert mutate(OFA, a, rng, prob=0.5) in OFA
    assert crossover(OFA, a, b, rng) in OFA
    assert crossover(OFA, a, a, rng) == a


def test_neighbours_are_one_step_away():
    found = list(neighbours(TINY, TINY.min()))
    # either stage deeper, either kept block's kernel larger, the resolution
    assert len(found) == len(set(found)) == 2 + 2 + 1
    assert all(s in TINY and s != TINY.min() for s in found)


def test_sampling_is_uniform_over_choices():
    rng = Random(0)
    counts = {2: 0, 3: 0, 4: 0}
    for _ in range(3000):
        counts[OFA.sample(rng).depth[0]] += 1
    assert all(abs(n - 1000) < 120 for n in counts.values())


def test_restrict():
    few = OFA.restrict(kernel=[3], depth="top1", expand="top2")
    assert few.max().kernel == (3,) * 20
    assert few.min().depth == (4,) * 5
    assert set(few.min().expand) == {4}
    assert few.max() in OFA
    assert OFA.max() not in few
    only = OFA.only(OFA.sample(Random(1)))
    assert only.size() == 1
    assert only.max() == OFA.sample(Random(1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kernal": 3}, ["kernal", "depth", "kernel", "expand", "resolution"]),
        ({"kernel": [3, 5]}, ["kernel", "20", "2 values"]),
        ({"kernel": 4}, ["kernel", "4", "3, 5, 7"]),
        ({"depth": 9}, ["depth", "9", "2, 3, 4"]),
        ({"depth": "deep"}, ["depth", "deep", "2, 3, 4"]),
        ({"kernel": [[3]] * 20}, ["number"]),
        ({"resolution": 100}, ["resolution", "100", "128"]),
        ({"kernel": [None] * 20}, ["kernel", "None"]),
    ],
)
def test_one_error_lists_what_is_allowed(values, words):
    with pytest.raises(WsnError) as error:
        OFA.subnet(**values)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("choices", [[], ["a"], [0], [True], [[3], [5]]])
def test_bad_choices(choices):
    with pytest.raises(WsnError, match="kernel"):
        Dimension("kernel", choices, 3, "block")


def test_find_and_files(tmp_path):
    assert OFA.find("smallest") == OFA.min()
    assert OFA.find(OFA.middle().to_json()) == OFA.middle()
    path = tmp_path / "subnet.json"
    path.write_text(OFA.middle().to_json())
    assert OFA.find(str(path)) == OFA.middle() == OFA.read(path)
    for text, words in (("{", "not JSON"), ("[1]", "one JSON object"), ('{"a": 1}', "not of this space")):
        path.write_text(text)
        with pytest.raises(WsnError, match=words):
            OFA.read(path)
    with pytest.raises(WsnError, match="Cannot read"):
        OFA.read(tmp_path / "missing.json")
    with pytest.raises(WsnError, match="largest, smallest, middle"):
        OFA.find("biggest")


def coupled():
    depth, kernel = Dimension("depth", [2, 3, 4], 2, "stage"), Dimension("kernel", [3, 5], 8, "block")
    expand = Dimension("expand", [3, 4, 6], 8, "block")
    return SearchSpace([depth, kernel, expand, Dimension("resolution", [24, 28])], [4, 4]).follow(expand="depth")


def follows(subnet, space):
    pairs = {2: 3, 3: 4, 4: 6}
    return all(subnet.expand[at] == pairs[subnet.depth[stage]] for stage, _, at in space.kept(subnet))


def test_coupled_dimensions_follow_in_every_operation(rng):
    space = coupled()
    per_stage = sum(2**d for d in (2, 3, 4))  # kernels of the kept blocks; expand adds nothing
    assert space.size() == per_stage**2 * 2
    a, b = space.sample(rng), space.sample(rng)
    made = [a, b, space.max(), space.min(), space.middle(), mutate(space, a, rng, 0.5), crossover(space, a, b, rng)]
    made += list(neighbours(space, a))
    for subnet in made:
        assert follows(subnet, space)
        assert subnet in space
        assert space.find(subnet.to_json()) == subnet
    free = SearchSpace(space.dimensions.values(), space.stages)
    assert free.subnet(depth=2, expand=6) not in space
    assert len({s.id for s in neighbours(space, a)}) == len(list(neighbours(space, a)))


def test_restricting_a_follower_restricts_its_leader():
    space = coupled().restrict(expand="top1")
    assert {s.depth for s in (space.max(), space.min())} == {(4, 4)}
    assert coupled().restrict(depth="top1", expand="top1").min().expand == (6,) * 8
    with pytest.raises(WsnError, match="go together"):
        coupled().restrict(depth=[2], expand=[6])


def test_mistakes_in_coupling():
    space = coupled()
    assert space.subnet(depth=2, expand=3) == space.subnet(depth=2)
    with pytest.raises(WsnError, match="follows depth"):
        space.subnet(depth=2, expand=6)
    free = SearchSpace(space.dimensions.values(), space.stages)
    for couple, words in [
        ({"expand": "width"}, "Unknown"),
        ({"depth": "expand"}, "cannot follow"),
        ({"expand": "depth", "depth": "resolution"}, "at once"),
    ]:
        with pytest.raises(WsnError, match=words):
            free.follow(**couple)


def test_ranks_are_spread_where_the_numbers_of_choices_differ():
    depth, width = Dimension("depth", [[1, 2, 3], [2]], 2, "stage"), Dimension("expand", [3, 4, 5, 6, 7], 5, "block")
    space = SearchSpace([depth, width], [3, 2]).follow(expand="depth")
    assert space.subnet(depth=[1, 2]).expand == (3, None, None, 7, 7)
    assert space.subnet(depth=[2, 2]).expand == (5, 5, None, 7, 7)
    assert (space.min().expand[0], space.max().expand[0], space.size()) == (3, 7, 3)


def test_stems_and_heads_follow_the_stage_beside_them():
    depth = Dimension("depth", [[0, 1], [1, 2]], 2, "stage", offset=1)  # a stem's, then that of the only stage
    width = Dimension("width", [[8, 16], [8, 16], [8, 16], [8, 16]], 4, "stage", offset=2)
    space = SearchSpace([depth, width], [2]).follow(width="depth")
    assert space.subnet(depth=[0, 2]).width == (8, 8, 16, 16)


SPACES = {  # kind → dimensions, of what backbones have
    "mobile": {"kernels": ["kernel"], "depths": ["depth"], "widths": ["expand"]},
    "llm": {"kernels": [], "depths": ["layers"], "widths": ["ffn", "heads"]},
    "slimmable": {"kernels": [], "depths": [], "widths": ["width"]},
}


def space_of_kind(name):
    blocks = {"kernel": [3, 5], "expand": [3, 6], "layers": [0, 1], "ffn": [8, 16], "heads": [2, 4]}
    made = []
    for dimension in sum(SPACES[name].values(), []):
        if dimension == "depth":
            made.append(Dimension("depth", [1, 2], 1, "stage"))
        elif dimension == "width":
            made.append(Dimension("width", [0.5, 1]))
        else:
            made.append(Dimension(dimension, blocks[dimension], 2, "block"))
    return SearchSpace([*made, Dimension("resolution", [16, 24]), Dimension("embed_dim", [64])], [2])


@pytest.mark.parametrize("name", SPACES)
def test_kinds_stand_for_the_dimensions_that_a_space_has(name):
    space = space_of_kind(name)
    assert {kind: of_kind(space, kind) for kind in KINDS} == SPACES[name]
    full = space.restrict(**choices_by_name(space, dict.fromkeys(KINDS, "top1")))
    assert full.min().to_json().replace("16, 24", "") == full.subnet(resolution=16).to_json()
    assert full.size() == 2  # resolutions


def test_a_dimension_goes_before_its_kind():
    space = space_of_kind("llm")
    assert choices_by_name(space, {"ffn": [8], "widths": "top1"}) == {"ffn": [8], "heads": "top1"}
    space = space_of_kind("mobile")
    assert leaders_by_name(space, {"expand": "kernel", "widths": "depths"}) == {"expand": "kernel"}
    with pytest.raises(WsnError, match="no depth with a choice"):
        leaders_by_name(space_of_kind("slimmable"), {"widths": "depths"})
