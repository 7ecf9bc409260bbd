"""Every option of a recipe can be set by its name, does something, and cannot take a method's part away unseen."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import torch
from helpers.configs import CONF, EXPERIMENTS, METHODS, ROOT, SAMPLERS, composed
from helpers.scripts import without_torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from omegaconf import OmegaConf

from wsn import WsnError
from wsn.config import build, command_line, compose
from wsn.config.check import check
from wsn.config.moved import PARTS
from wsn.logging.labels import label_of
from wsn.run.sweep import swept_keys
from wsn.run.train import make_callbacks, make_module
from wsn.schedule import Phase, RoleLoss, constant, learning_rate, phases_of

pytestmark = pytest.mark.xdist_group("surface")  # what one process has composed it need not compose again

RECIPES = [*(("method", name) for name in METHODS), *EXPERIMENTS]
WITH_PARTS = [name for name in METHODS if "\n  callbacks:" in (CONF / "method" / f"{name}.yaml").read_text()]
OTHER = {  # a value that no recipe has, for each field
    "epochs": 77, "warmup_epochs": 3, "lr_scale": 0.75, "roles": ["max", "max"], "choices": {"resolution": "top1"},
    "order_channels": "wanda", "fresh_optimizer": None, "continue_lr": None, "shrinks": "kernels",
    "labels": 0.3, "distill": 0.7, "target": "max", "dropout": None, "weight": 0.9, "balance": "max",
}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "name"), [pytest.param(*r, marks=pytest.mark.slow if r in EXPERIMENTS else ()) for r in RECIPES]
)
def test_every_field_of_a_recipe_is_set_by_its_name(group, name):
    base = composed(group, name)
    overrides, expected = [], {}
    for part, kind in (("phases", Phase), ("losses", RoleLoss)):
        for key, node in base.method[part].items():
            for field in dataclasses.fields(kind) if node is not None else ():
                path = f"method.{part}.{key}.{field.name}"
                value = OTHER[field.name] if OTHER[field.name] is not None else not node[field.name]
                expected[path] = value
                text = str(value).replace("'", "") if not isinstance(value, dict) else "{resolution:top1}"
                overrides.append(f"{path}={text}")
    changed = composed(group, name, *overrides)
    for path, value in expected.items():
        found = OmegaConf.select(changed, path)
        found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        assert found == value or (isinstance(value, dict) and found.items() >= value.items()), path


@pytest.mark.parametrize(
    "override", ["method.phases.full.epoch=3", "method.losses.max.label=1", "method.phase.full.epochs=1"]
)
def test_misspelt_fields_are_refused_by_name_before_torch(override):
    done = without_torch("train.py", override)
    assert done.returncode != 0
    assert override.partition("=")[0] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("group", "name"), RECIPES)
def test_the_base_rate_is_the_rate_of_every_phase(group, name):
    cfg = composed(group, name)
    phases = phases_of(OmegaConf.to_container(cfg.method.phases))
    start = 0
    for phase in phases:
        rates = [learning_rate(phases, constant, start + phase.warmup_epochs, lr, 0.0) for lr in (cfg.optim.lr, 5.0)]
        assert rates == pytest.approx([cfg.optim.lr * phase.lr_scale, 5.0 * phase.lr_scale])
        start += phase.length


def test_published_rates():
    """Peaks of the phases as the papers have them: base times scale, digit for digit."""
    published = {
        "ofa_mobilenet_imagenet": [2.6, 0.96, 0.08, 0.24, 0.08, 0.24],
        "compofa_imagenet": [2.6, 0.08, 0.24],
        "flextron_llama": [2e-5, 5e-4, 2e-5],
        "deps_imagenet": [2.6, 2.6],
    }
    for name, rates in published.items():
        cfg = composed("experiment", name)
        assert [cfg.optim.lr * p.lr_scale for p in cfg.method.phases.values()] == rates


def test_recipes_that_had_drifted_are_as_their_papers_say():
    compofa = composed("experiment", "compofa_imagenet").method.phases
    assert compofa.compound_1.order_channels
    flextron = composed("experiment", "flextron_llama").method.phases
    assert not flextron.joint.fresh_optimizer


def assert_parts_are_kept(chosen, name):
    """Check that a config still has the parts of its method, and that the callbacks which are made of it have."""
    own = composed("method", name)
    assert all(chosen.method[part] == own.method[part] for part in ("callbacks", "losses", "phases"))
    assert not set(chosen.callbacks) & set(chosen.method.callbacks)
    method = build(chosen.method)
    assert list(method.callbacks) == list(own.method.callbacks)
    callbacks = make_callbacks(chosen, method, Path("run"))
    assert [c for c in callbacks if c in method.callbacks.values()] == list(method.callbacks.values())
    return callbacks


@pytest.mark.parametrize("name", METHODS)
def test_what_a_user_adds_leaves_a_methods_own_parts_alone(name):
    added = ["callbacks=ema", "logger=wandb", "logger.wandb.offline=true", "trainer.precision=bf16-mixed"]
    chosen = composed("method", name, *added)
    callbacks = assert_parts_are_kept(chosen, name)
    assert sum(isinstance(c, EMAWeightAveraging) for c in callbacks) == 1
    assert set(chosen.logger) == {"csv", "wandb"}
    assert chosen.trainer.precision == "bf16-mixed"


def allowed():
    """Yield methods and the samplers that they allow: a router is told its sampler's budgets. One of each is quick."""
    seen = set()
    for name in (*WITH_PARTS, *METHODS):
        takes = re.search(r"\$\{sampler\.(\w+)\}", (CONF / "method" / f"{name}.yaml").read_text())
        routed = name == "flextron_dynamic" or (takes and takes[1] == "budgets")
        for sampler in ("budgets",) if routed else SAMPLERS:
            if (name, sampler) not in seen:
                quick = sampler not in {other for _, other in seen} or sampler == "budgets" and routed
                yield pytest.param(name, sampler, marks=() if quick else pytest.mark.slow)
            seen.add((name, sampler))


@pytest.mark.parametrize(("name", "sampler"), allowed())
def test_every_sampler_leaves_every_methods_own_parts_alone(name, sampler):
    chosen = composed("method", name, f"sampler={sampler}")
    assert chosen.sampler._target_ == composed("sampler", sampler).sampler._target_
    assert_parts_are_kept(chosen, name)


def documented():
    """Return the commands of README and docs as (script, overrides)."""
    found = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        for script, rest in re.findall(r"(?:python |wsn )(train|search|evaluate|export)(?:\.py)? ([^`#&|\n]*)", text):
            words = shlex.split(rest) if rest.count('"') % 2 == 0 else []
            overrides = [w.replace("…", "x") for w in words if "=" in w and not w.endswith(("=mine", ")"))]
            if overrides and not any(w.startswith("--") for w in words):
                found[f"{script} {' '.join(overrides)}"] = script, overrides
    return found


@pytest.mark.parametrize("command", documented())
def test_documented_overrides_compose(command):
    script, overrides = documented()[command]
    overrides = command_line(overrides, script)
    sweeps = [
        o.partition(",")[0] if re.match(r"(method|seed)=", o) else o for o in overrides
    ]  # of a multirun its first
    assert compose(CONF, sweeps, script)


def test_alphanet_with_averaged_weights_distils_by_alpha_divergence():
    cfg = compose(CONF, ["method=alphanet", "callbacks=ema", "backbone.width_mult=0.1", "data.val_size=40"])
    module = make_module(cfg)
    (divergence,) = module.method.callbacks.values()
    divergence.on_fit_start(None, module)
    logits = torch.randn(2, 4, 10)
    assert module.method.distillation(*logits) == divergence.loss(*logits)


def test_a_part_that_is_taken_out_is_in_the_name():
    cfg = compose(CONF, ["method=alphanet", "method.callbacks.alpha_divergence=null"])
    assert label_of(cfg) == "alphanet without alpha_divergence"
    cfg = compose(CONF, ["method=ofa", "method.phases.depth_1=null", "method.phases.kernel=null", "tags=[x]"])
    assert label_of(cfg) == "ofa without kernel, depth_1+x"
    assert [phase.name for phase in make_module(cfg).method.phases] == ["full", "depth_2", "expand_1", "expand_2"]


@pytest.mark.parametrize("name", PARTS)
def test_parts_by_their_old_names(name):
    """``callbacks=alpha_divergence`` adds the callback to any method, ``callbacks.NAME.x=`` sets its options."""
    cfg = compose(CONF, ["method=bignas", f"callbacks={name}"])
    assert cfg.method.callbacks[name]._target_ == PARTS[name]
    assert label_of(cfg) == "bignas"
    old, new = (f"{key}.delayed_shrinking.ramp_epochs=3" for key in ("callbacks", "method.callbacks"))
    assert recipe("method=deps", old) == recipe("method=deps", new)


def recipe(*overrides):
    cfg = compose(CONF, list(overrides))
    return cfg.method, cfg.optim


def test_phases_by_number_and_absolute_rates():
    by_name = ["method.phases.kernel.epochs=9", "method.phases.full.lr_scale=0.25"]
    by_number = ["method.phases.1.epochs=9", "method.phases.0.lr=0.05"]
    assert recipe("method=ofa", *by_number) == recipe("method=ofa", *by_name)
    one = compose(CONF, ["method=bignas", "method.phases.0.lr=0.3"])
    assert (one.optim.lr, one.method.phases.all.lr_scale) == (0.3, 1.0)
    done = without_torch("train.py", "method=bignas", "method.phases.3.epochs=1")
    assert "the phases of this method are all" in done.stderr
    done = without_torch("train.py", "optim.lr_scale=2")
    assert done.stderr.startswith("error: optim.lr_scale is no more. Set optim.lr")


def test_a_sweep_over_methods_overrides_what_they_share(capsys):
    sweep = ["-m", "method=spos,sortednet", "method.phases.all.epochs=1", "method.label_smoothing=0.1,0.2"]
    given = command_line(sweep)
    assert given[2:] == ["method.phases.all.epochs=choice(1)", "method.label_smoothing=0.1,0.2"]
    assert swept_keys(given[1:]) == ["method", "method.label_smoothing"]
    one = ["-m", "method=plain", "method.subnet=smallest,largest"]  # the method is not swept: Hydra composes it
    assert command_line(one) == one
    for methods, key, method in (("ofa,spos", "epochs", "ofa"), ("spos,sortednet", "epoch", "spos")):
        wrong = f"method.phases.all.{key}=1"
        with pytest.raises(SystemExit):
            command_line(["-m", f"method={methods}", wrong])
        assert f"{wrong} is not for method={method}: " in capsys.readouterr().err


@pytest.mark.parametrize("plus", ["+", "++"])
def test_losses_and_phases_are_added_from_the_command_line(plus):
    roles = "method.phases.expand_2.roles=[random,min]"
    for added in ([f"{plus}method.losses.min={{labels:0.5,distill:1.0,target:teacher}}"],
                  [f"{plus}method.losses.min.labels=0.5", f"{plus}method.losses.min.distill=1.0",
                   f"{plus}method.losses.min.target=teacher"]):  # fmt: skip
        cfg = compose(CONF, [roles, *added])
        check(cfg)
        assert (cfg.method.losses.min.labels, cfg.method.losses.min.distill) == (0.5, 1.0)
        assert (cfg.method.losses.min.target, cfg.method.losses.min.weight) == ("teacher", 1.0)
    cfg = compose(CONF, [f"{plus}method.phases.last={{epochs:2,roles:[max]}}"])
    assert list(cfg.method.phases)[-2:] == ["expand_2", "last"]
    assert (cfg.method.phases.last.epochs, cfg.method.phases.last.roles) == (2, ["max"])


def test_what_is_there_keeps_its_other_fields():
    cfg = compose(CONF, ["++method.losses.random.labels=0.5", "++method.phases.full.epochs=3"])
    assert (cfg.method.losses.random.distill, cfg.method.losses.random.target) == (1.0, "teacher")
    assert cfg.method.phases.full.warmup_epochs == 1


def test_the_loss_that_the_error_recommends_is_taken(tmp_path):
    with pytest.raises(WsnError) as error:
        check(compose(CONF, roles := ["method=sortednet", "method.phases.all.roles=[random,min]"]))
    check(compose(CONF, [*roles, str(error.value).partition("Add ")[2].partition(", or")[0]]))
    done = without_torch("train.py", "method=spos", "+method.losses.min.label=1")
    assert "label" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loss_that_only_some_methods_of_a_sweep_have_is_refused(capsys):
    """Added to those that have it, it would lose its other fields."""
    with pytest.raises(SystemExit):
        command_line(["-m", "method=bignas,spos", "+method.losses.min.labels=0.5"])
    assert "some of these methods have losses.min, others not" in capsys.readouterr().err
    added = command_line(["-m", "method=bignas,spos", "+method.losses.mine.labels=0.5"])
    assert "+part@method.losses.mine=loss" in added
