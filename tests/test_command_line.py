"""The door: the command ``wsn``, what an installed wheel carries, the names of packages, and other platforms."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from helpers.scripts import ROOT, command

import wsn
from wsn.config import CONF, build_data, command_line, compose, config_dir
from wsn.errors import WsnError
from wsn.files import locked
from wsn.run import tasks
from wsn.run.cli import COMMANDS, GROUPS, main
from wsn.run.options import REQUIRED, Option, read_options, translated

PACKAGED = ("wsn", "conf", "pyproject.toml", "setup.py", "README.md", "LICENSE")
SHORT = [
    "method=ofa",
    "debug=fast",
    *[f"method.phases.{i}.epochs=1" for i in range(6)],
    "method.phases.0.warmup_epochs=0",
    "trainer.limit_train_batches=1",
    "trainer.enable_progress_bar=false",
]
SCRIPT = "import sys\nfrom wsn.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


def python(*arguments, cwd=ROOT, path=ROOT, check=True, timeout=800):
    """Run Python in a folder, with one on its path."""
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def status(arguments):
    """Return the exit status of a command in this process."""
    try:
        return main(arguments)
    except SystemExit as end:  # as Hydra ends
        return end.code


NO_TORCH = """
import contextlib, io, json, sys
sys.modules["torch"] = None
from wsn.run.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["wsn", *arguments]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue()]))
"""


# -- one command, one dialect -----------------------------------------------------------------------------------


def test_help_and_version(capsys):
    assert main([]) == main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"wsn {name} {command.example}" in shown for name, command in COMMANDS.items())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wsn {wsn.__version__}\n"
    for name, found in COMMANDS.items():
        if found.options:
            assert main([name, "--help"]) == 0
            shown = capsys.readouterr().out
            assert all(f"  {key}=" in shown for key in found.options)
    assert main(["latency-table", "-h"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {text} " in shown for text in ("threads=1", "channels_last=false", "min_seconds=0.05", "out=null"))


def test_help_and_mistakes_need_no_torch():
    expected = [
        (["--help"], 0, "wsn train method=ofa"),
        (["train", "--help"], 0, "== Configuration groups =="),
        (["train", "method=us_net", "--cfg", "job", "-p", "optim"], 0, "optimizer:"),
        (["export", "--help"], 0, "subnet: ???"),
        (["latency-table", "--help"], 0, "run=outputs/train/..."),
        (["trian"], 1, "Did you mean wsn train?"),
        (["evaluate", "run=outputs/nope"], 1, "does not exist"),
        (["export", "run=outputs/nope", "subnet=best"], 1, "does not exist"),
        (["latency-table", "run=outputs/nope"], 1, "does not exist"),
        (["lm-eval", "run=x"], 1, "tasks has no value"),
        (["train", "method=off"], 1, "ofa"),
        (["train", "optim.lr=-1"], 1, "optim.lr must be a number above 0"),
    ]
    done = python("-c", NO_TORCH, json.dumps([arguments for arguments, _, _ in expected]))
    for line, (arguments, code, words) in zip(done.stdout.splitlines(), expected, strict=True):
        found, text = json.loads(line)
        assert found == code, (arguments, text)
        assert words in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "Did you mean wsn train?"),
        (["method=ofa"], "Type e.g. wsn train method=ofa"),
        (["train", "--method", "ofa"], "wsn train has no flag --method. Options are key=value: type method=..."),
        (["train", "--sweep-name=x"], "type sweep_name=x"),
        (["evaluate", "outputs/x"], "type e.g. run=outputs/x"),
        (["evaluate", "--run", "outputs/x"], "type e.g. run=outputs/x"),
        (["evaluate", "run=outputs/nope"], "outputs/nope does not exist"),
        (["search"], "run=..."),
        (["compare"], "Type runs=outputs/sweeps/mine"),
        (["compare", "run=a"], "Unknown option 'run'. Allowed: runs="),
        (["compare", "--runs"], "Type runs=outputs/sweeps/mine"),
        (["compare", "a", "runs=b"], "Type it once: runs=[a,b]"),
        (["compare", "a", "--out", "b", "c", "--nope"], "Unknown option '--nope'"),
        (["compare", "runs=[a"], "runs cannot be read. Received '[a'"),
        (["list", "group=nope"], "group=nope is unknown. Allowed: backbone, method"),
        (["list", "optim", "nope"], "group=nope is unknown. Allowed: backbone, method"),
        (["list", "conf=/nope"], "/nope is not wsn's config folder"),
        (["latency-table"], "Type run=outputs/train/..."),
        (["latency-table", "outputs/x"], "Options are key=value. Received 'outputs/x'. Allowed: run="),
        (
            ["latency-table", "run=x", "threads=two"],
            "threads must be a whole number. Received 'two'. Type e.g. thr",
        ),
        (["latency-table", "run=x", "batch=true"], "batch must be a whole number"),
        (["latency-table", "run=x", "min_seconds=a"], "min_seconds must be a number. Received 'a'"),
        (["latency-table", "run=x", "channels_last=1"], "channels_last must be true or false"),
        (["latency-table", "run=x", "runtime=tflite"], "Allowed: eager, compile, onnxruntime"),
        (["latency-table", "run=outputs/nope"], "outputs/nope does not exist"),
        (["lm-eval", "run=x"], "tasks has no value"),
        (["lm-eval", "run=x", "tasks=[a]", "limit=all"], "limit must be a whole number"),
        (["wandb-setup"], "Type entity=ME"),
        (["wandb-setup", "--entity"], "Type entity=ME"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_type(arguments, words, monkeypatch, capsys):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert status(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("compare", ["a"], ["runs=[a]"]),
        ("compare", ["a/b=1,2", "c d", "--out", "e"], ["runs=['a/b=1,2', c d]", "out=e"]),
        ("compare", ["--out=e", "a"], ["runs=a", "out=e"]),
        ("list", ["optim", "data"], ["group=[optim,data]"]),
        ("list", ["--conf", "here"], ["conf=here"]),
        ("list", [], []),
        ("lm-eval", ["x", "--tasks", "a", "b", "--include", "f", "--limit", "3"],
         ["run=x", "tasks=[a,b]", "include=f", "limit=3"]),
        ("lm-eval", ["x", "--tasks", "a", "--subnet", '{"layers": [0, 1]}'],
         ["run=x", "tasks=a", "subnet={layers: [0, 1]}"]),
        ("wandb-setup", ["--entity", "me", "--project=p"], ["entity=me", "project=p"]),
        ("latency-table", ["run=x", "min_seconds=0.01"], ["--run", "x", "--min-seconds", "0.01"]),
    ],
)  # fmt: skip
def test_earlier_spellings(name, old, new):
    found = COMMANDS[name]
    given = read_options(found.options, old, found.word)
    assert given == read_options(found.options, new, found.word)
    assert list(given) == list(found.options)


def test_values_are_read_by_kind():
    options = {
        "text": Option("", "a"), "several": Option("", REQUIRED, list), "number": Option("", 1.0, float),
        "any": Option("", None, object), "flag": Option("", False, bool), "size": Option("", None, int),
    }  # fmt: skip
    given = ["text=1e3", "several=[1,b c]", "number=2", "any={depth: 2}", "flag=true", "size=null"]
    values = {"text": "1e3", "several": ["1", "b c"], "number": 2.0, "any": {"depth": 2}, "flag": True, "size": None}
    assert read_options(options, given) == values
    assert read_options(options, ["text='a=b'", "several=c"])["text"] == "a=b"
    with pytest.raises(WsnError, match="text is one value"):
        translated(options, ["a", "b"], "text")


def test_flags_of_hydra_and_overrides_pass():
    for arguments in (["-m", "seed=0,1"], ["--cfg", "job"], ["~callbacks.progress", "+a=b"], ["-cd", "x", "sampler=y"]):
        assert command_line(arguments) == arguments


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("wsn ev", ["train", "evaluate"]),
        ("wsn train method=us", ["method=us_net"]),
        ("wsn evaluate sp", ["split="]),
        ("wsn compare ", ["runs=", "out="]),
        ("wsn nope ", []),
    ],
)
def test_shells_complete(line, choices, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["wsn"])
    assert main(["-sc", "query=bash"]) == 0
    printed = capsys.readouterr().out.split()
    assert set(choices) <= set(printed)
    assert bool(choices) == bool(printed)


def test_groups_that_are_listed_are_those_of_conf(capsys):
    shown = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "paths", "user", "debug", "hints"}
    assert set(GROUPS) == shown
    assert main(["list", "group=[optim,scheduler]"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("sgd", "cosine"))
    assert "mobilenet" not in printed


def test_scripts_module_and_command_are_one():
    starts = (["evaluate.py"], ["-m", "wsn", "evaluate"], ["-c", SCRIPT, "evaluate"])
    outputs = [python(*start, "run=outputs/nope", check=False).stderr for start in starts]
    assert outputs[0].startswith("error: The run folder outputs/nope")
    assert len(set(outputs)) == 1


def test_a_task_sees_what_was_typed_and_reaches_other_processes(monkeypatch):
    """Lightning starts the other processes of DDP from sys.argv; launchers pickle the task."""
    seen = []
    monkeypatch.setitem(tasks.TASKS, "evaluate", lambda cfg: seen.append((list(sys.argv), cfg.run)))
    typed = ["wsn", "evaluate", "run=x"]
    monkeypatch.setattr(sys, "argv", typed)
    assert main() == 0
    assert seen == [(typed, "x")]
    assert sys.argv == typed
    task = tasks.Task("train", ("wsn", "train"))
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.ddp
def test_processes_of_ddp_are_started_by_the_same_command(tmp_path):
    (tmp_path / "wsn").write_text(SCRIPT)
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    for start in (["-m", "wsn"], [tmp_path / "wsn"]):
        run = tmp_path / str(len(start))
        python(*start, "train", *SHORT, *two, f"paths.run_dir={run}", cwd=tmp_path)
        assert (run / "front.json").exists()


# -- configs, wherever wsn is -----------------------------------------------------------------------------------


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    assert config_dir() == ROOT / "conf"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSN_CONF", raising=False)
    mine = tmp_path / "conf" / "user" / "scheduler"
    other = tmp_path / "other" / "scheduler"
    for folder, value in ((mine, 1), (other, 2)):
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(f"curve: {value}\nwarmup_from: 0\n")
    assert compose(CONF, ["scheduler=mine"]).scheduler.curve == 1
    monkeypatch.setenv("WSN_CONF", str(tmp_path / "other"))
    assert compose(CONF, ["scheduler=mine"]).scheduler.curve == 2


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packaged, so that building leaves nothing in the tree."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_what_is_packaged_has_every_config(source, tmp_path):
    python("setup.py", "-q", "build_py", "--build-lib", tmp_path, cwd=source)
    assert listing(tmp_path / "wsn" / "conf") == listing(ROOT / "conf")
    modules = [name for name in listing(tmp_path / "wsn") if not name.startswith("conf/")]
    assert modules == [name for name in listing(ROOT / "wsn") if "__pycache__" not in name]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_trains_and_evaluates_from_any_folder(source, tmp_path):
    offline = ["--no-deps", "--no-index", "-q", "--disable-pip-version-check"]
    python("-m", "pip", "wheel", source, "--no-build-isolation", *offline, "-w", tmp_path / "wheels", cwd=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob(f"wsn-{wsn.__version__}-*.whl")
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    python("-m", "pip", "install", wheel, *offline, "--target", site, cwd=tmp_path)

    def installed(*arguments):
        return python(*arguments, cwd=here, path=site).stdout

    assert installed("-c", "import wsn; print(wsn.__file__)").strip() == str(site / "wsn" / "__init__.py")
    assert (site / "bin" / "wsn").exists() or (site / "Scripts" / "wsn.exe").exists()
    installed("-m", "wsn", "train", *SHORT)
    (run,) = (here / "outputs" / "train").glob("*/*")
    installed("-m", "wsn", "evaluate", f"run={run.relative_to(here)}", "subnet=smallest")
    assert (run / "evaluation.csv").exists()
    assert "nsga2" in installed("-m", "wsn", "list", "search")


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "base"),
    [
        ("wsn.samplers", "Sampler"),
        ("wsn.methods", "Method"),
        ("wsn.backbones", "Supernet"),
        ("wsn.data", "DataModule"),
        ("wsn.callbacks", "StepCheckpoint"),
        ("wsn", "Supernet"),
    ],
)
def test_packages_name_what_is_built_on(package, base):
    module = import_module(package)
    assert base in module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = module.nope


def test_importing_packages_imports_no_torch():
    packages = "wsn, wsn.samplers, wsn.methods, wsn.backbones, wsn.data, wsn.callbacks"
    python("-c", f"import sys, {packages}; assert 'torch' not in sys.modules")


def test_the_package_is_typed():
    assert (ROOT / "wsn" / "py.typed").exists()


# -- other platforms --------------------------------------------------------------------------------------------

WITHOUT = """
import builtins, sys
real = builtins.__import__
def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    if name in ("fcntl", "pwd", "grp", "resource", "termios") and (globals or {}).get("__name__", "").startswith("wsn"):
        raise ImportError(f"{name} is of Unix; wanted by {globals['__name__']}")
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = guarded
"""


def test_every_module_imports_without_what_only_unix_has():
    code = "import importlib, pkgutil, wsn\nfor m in pkgutil.walk_packages(wsn.__path__, 'wsn.'):\n"
    python("-c", WITHOUT + code + "    importlib.import_module(m.name)")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_without_what_only_unix_has(tmp_path):
    run = ["train", *SHORT, f"paths.run_dir={tmp_path}/run"]
    code = f"sys.argv = {['wsn', *run]!r}\nfrom wsn.__main__ import main\nsys.exit(main())"
    python("-c", WITHOUT + code, cwd=tmp_path)
    assert (tmp_path / "run" / "front.json").exists()


def test_locks_are_exclusive_and_end_with_their_process(tmp_path):
    path = tmp_path / ".lock"
    with locked(path) as first, locked(path) as second:
        assert (first, second) == (True, False)
    hold = f"import os; from wsn.files import locked\nwith locked({str(path)!r}) as ours:\n    assert ours; os._exit(0)"
    python("-c", hold)
    with locked(path) as again:
        assert again


@pytest.mark.slow
def test_batches_come_from_workers_that_are_spawned():
    """The only way to start them on Windows, and the usual one on macOS."""
    sizes = ["data.batch_size=2", "data.eval_batch_size=2", "data.images_per_epoch=4", "data.val_size=4"]
    data = build_data(compose(CONF, sizes).data)
    loader = data.train_dataloader()
    expected = next(iter(loader))
    spawned = type(loader)(
        loader.dataset,
        batch_sampler=loader.batch_sampler,
        collate_fn=loader.collate_fn,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    for found, known in zip(next(iter(spawned)), expected, strict=True):
        torch.testing.assert_close(found, known)


def test_the_lock_of_a_gpu_needs_no_user_number(monkeypatch, tmp_path):
    from wsn.run import devices

    monkeypatch.delattr(os, "getuid")
    monkeypatch.setenv("USERNAME", "me")
    monkeypatch.setenv("LOGNAME", "me")
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    trainer = compose(CONF, ["trainer=gpu", "trainer.devices=1"]).trainer
    with devices.own_gpu(trainer) as first, devices.own_gpu(trainer) as second:
        assert (list(first.devices), list(second.devices)) == ([0], [1])
        assert (tmp_path / "wsn-me-gpu-0.lock").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_in_processes_of_its_own(tmp_path):
    """Joblib's workers unpickle the task that ``python -m wsn`` started."""
    jobs = ["-m", "sweep=s", "launcher=joblib", "seed=0,1", *SHORT, f"paths.output_dir={tmp_path}"]
    python("-m", "wsn", "train", *jobs, cwd=tmp_path)
    assert len(list((tmp_path / "sweeps" / "s").glob("*/front.json"))) == 2
    assert command("train.py", *jobs, out=tmp_path).stdout.count("done before") == 2
