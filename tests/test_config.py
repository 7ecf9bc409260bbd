"""Contract: every yaml in conf/ composes, names what exists, and mistakes answer at once."""

import subprocess
import sys

import pytest
from helpers.configs import AFTER, CONF, DEBUG, EXPERIMENTS, OPTIONS, ROOT, SAMPLERS, composed
from helpers.scripts import run_fresh, without_torch
from hydra.utils import get_class, get_method
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsn import WsnError
from wsn.backbones.transformer import shape_space
from wsn.config import build, build_group, check, compose
from wsn.config.moved import KEYS, migrate
from wsn.methods.llm_qfa import bits_space
from wsn.run.folder import read_config

pytestmark = pytest.mark.xdist_group("surface")  # with test_config_surface.py: options are composed once


def targets(node):
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node._target_
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, ListConfig):
        for value in node:
            yield from targets(value)


def exists(target):
    try:
        return get_class(target)
    except ValueError:
        return get_method(target)


@pytest.mark.parametrize(("group", "name"), [*OPTIONS, *EXPERIMENTS, *DEBUG])
def test_every_option_composes_and_its_targets_exist(group, name):
    cfg = composed(group, name)
    OmegaConf.resolve(cfg)
    check(cfg)
    assert all(exists(t) for t in targets(cfg))


@pytest.mark.parametrize(("group", "name"), AFTER)
def test_every_search_and_cost_composes_and_its_targets_exist(group, name):
    table = ["cost.latency_ms.path=table"] if name.endswith("_table") else []
    cfg = compose(CONF, [f"{group}={name}", "run=.", *table], "search")
    assert all(exists(t) for t in targets(cfg))


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_file_says_what_it_is(path):
    first = [line for line in path.read_text().splitlines() if not line.startswith("# @package")][0]
    assert first.startswith("# ")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_stays_in_the_space_and_repeats_itself(net, name):
    node = composed("sampler", name).sampler
    if name in ("exits", "granularity", "resource_balanced", "shapes"):  # of networks of equal layers
        net = build_group(composed("backbone", "llama").backbone)
    if name == "shapes":
        net.space = shape_space(net.space, {4: [0, 1, 2, 3], 2: [0, 3]}, [0.5, 0.75, 1.0], {"heads": 1, "ffn": 8})
    if name == "resource_balanced":
        net.space = bits_space(net.space, [2, 3, 4])
    a, b = (build(node, space=net.space, seed=1) for _ in range(2))
    a.attach(net)
    b.attach(net)
    for step in (0, 5, 3):
        draws = a.sample(step)
        assert draws == b.sample(step)
        assert draws
        assert all(d.subnet in net.space for d in draws)


@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "backbone").glob("*.yaml"))])
def test_a_dimensions_name_overrides_its_choices(name):
    node = composed("backbone", name).backbone
    if "model_dir" in node:
        assert build_group({**node, "embed_dim": [128], "layers": [1]}).space.max().embed_dim == 128
        return
    net = build_group({**node, "resolution": [24]})
    assert net.space.max().resolution == 24


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=off"], ["ofa", "plain"]),
        (["backbone=llama"], ["reads text", "data=shakespeare"]),
        (["data=shakespeare"], ["reads images", "backbone=llama"]),
        (["backbone=llama", "data=shakespeare", "debug=fast"], ["reads text", "debug=fast_language"]),
        (["debug=fast_language"], ["reads images", "debug=fast"]),
        (["method=compofa", "backbone=slimmable_mobilenetv2"], ["widths follow depths", "width", "another backbone"]),
        (["backbone=vit", "method.phases.full.choices.kernel=[3]"], ["restricts", "kernel", "another backbone"]),
        (["method.phases.full.choices.widths=[3]"], ["widths", "top1", "expand"]),
        (["method.phases.full.shrinks=width"], ["shrinks", "'width'", "widths"]),
        (["budget_gmacs=-1"], ["budget_gmacs"]),
        (["optim.lrr=1"], ["lrr"]),
        (["backbone.kernel=[4]"], ["odd", "4", "backbone.kernel=[3,5]"]),
        (["backbone.kernel=[]"], ["empty", "kernel"]),
        (["backbone.depth=[2,a]"], ["depth", "'a'"]),
        (["data=imagenet"], ["data.root=..."]),
        (["data=imagenet", "data.root=/nope"], ["/nope", "data.root=/path"]),
        (["resume=outputs/nope"], ["outputs/nope", "does not exist"]),
        (["optim.lr=-1"], ["optim.lr", "-1"]),
        (["+method.phases.1.choices.width=[1]"], ["width", "kernel", "depth"]),
        (["+method.phases.1.choices.kernel=[9]"], ["9", "3, 5"]),
        (["method.phases.0.choices.kernel=biggest"], ["biggest", "top1"]),
    ],
)
def test_mistakes_give_one_clear_error_before_torch_is_loaded(overrides, words):
    before = set((ROOT / "outputs").rglob("*"))
    done = without_torch("train.py", *overrides)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert set((ROOT / "outputs").rglob("*")) == before  # no folder is left behind


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("train.py", ["optim.lr=-1"], "optim.lr must be a number above 0"),
        ("train.py", ["--cfg", "job", "method=ofa", "--package", "optim"], "nesterov"),
        ("evaluate.py", ["run=outputs/nope"], "does not exist"),
        ("search.py", ["run=outputs/nope"], "does not exist"),
        ("export.py", ["run=outputs/nope", "subnet=best"], "does not exist"),
        ("compare.py", ["outputs/nope"], "error: The folder"),
    ],
)
def test_scripts_start_in_a_new_interpreter(script, arguments, words):
    done = run_fresh(script, *arguments)
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_heavy_packages_are_not_imported_by_the_scripts():
    heavy = "[m for m in ('torch', 'lightning', 'timm', 'wandb') if m in sys.modules]"
    code = f"import sys, train, evaluate, search, export; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bad_targets_name_the_cause():
    with pytest.raises(WsnError, match=r"wsn\.nope"):
        build({"_target_": "wsn.nope.Missing"})
    with pytest.raises(WsnError, match="unexpected keyword argument 'foo'"):
        build({"_target_": "wsn.schedule.Phase", "epochs": 1, "foo": 2})
    with pytest.raises(WsnError, match="_target_"):
        build({"a": 1})


def test_the_config_of_a_moved_run_folder_points_at_where_it_is(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "paths: {run_dir: old/a}\nn: [old/a, 1]\nmethod: {name: ofa}\nbackbone: {name: mobilenet}\n"
        "callbacks: {x: {folder: old/a/checkpoints, other: old/ab, also: my old/a}}\n"
    )
    cfg = read_config(tmp_path)
    assert cfg.paths.run_dir == str(tmp_path)
    assert cfg.callbacks.x == {"folder": f"{tmp_path}/checkpoints", "other": "old/ab", "also": "my old/a"}
    assert cfg.n == [str(tmp_path), 1]


@pytest.mark.parametrize(("old", "new"), KEYS.items())
def test_keys_of_earlier_versions_still_work(old, new):
    group, _, key = old.rpartition(".")
    cfg = compose(CONF, [f"{'+' if group.startswith('method') else ''}{old}=[8]"])
    assert OmegaConf.select(cfg, new) == [8]
    assert key not in OmegaConf.select(cfg, group)
    saved = OmegaConf.create()
    OmegaConf.update(saved, old, [8])
    assert OmegaConf.select(migrate(saved), new) == [8]
    assert key not in OmegaConf.select(saved, group)


def test_following_by_its_earlier_name():
    assert compose(CONF, ["method=compofa", "method.couple={expand: kernel}"]).method.follow.expand == "kernel"


def test_published_spaces_on_photographs():
    """What suits small images is the data's to say; ImageNet keeps what was published."""
    for backbone, resolution in (("mobilenet", list(range(128, 225, 4))), ("proxyless", list(range(128, 225, 4)))):
        cfg = compose(CONF, [f"backbone={backbone}", "data=imagenet", "data.root=."]).backbone
        assert (cfg.depth, cfg.kernel, cfg.expand) == ([2, 3, 4], [3, 5, 7], [3, 4, 6])
        assert (list(cfg.resolution), cfg.reduction) == (resolution, 32)
        assert cfg.get("strides") is None
