"""Damaged and shared run folders: one error that names the file or the process, and nothing read wrong in silence."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers.scripts import SMALL, command, start, the_run, weights

from wsn import WsnError
from wsn.callbacks.checkpoint import load_checkpoint
from wsn.evaluation.evaluate import evaluate
from wsn.evaluation.metrics import ImageMetrics
from wsn.files import read_csv, read_subnets, replacing, sweep_away
from wsn.run.folder import hold, read_config
from wsn.search.store import RowFile

SLOW = pytest.mark.slow
GOOD = "method: {name: ofa}\nbackbone: {name: mobilenet}\npaths: {run_dir: x}\n"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "last.ckpt"
    state = {f"layer{i}.weight": torch.randn(40, 40) for i in range(4)}
    torch.save({"state_dict": state, "epoch": 3, "loops": {"batches": [1, 2]}}, path)
    return path


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return a == b


def test_no_flipped_byte_of_a_checkpoint_is_read_in_silence(checkpoint):
    """Where a flip is not an error, what is loaded is what was saved."""
    good, data = load_checkpoint(checkpoint), checkpoint.read_bytes()
    rng, noticed = random.Random(0), 0
    tail = range(len(data) - 1200, len(data))  # the directory of the archive
    for at in [*rng.sample(range(len(data)), 150), *rng.sample(tail, 100)]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        checkpoint.write_bytes(damaged)
        try:
            assert equal(load_checkpoint(checkpoint), good), at
        except WsnError as error:
            assert "corrupt" in str(error) or "not a checkpoint" in str(error)  # noqa: PT017
            noticed += 1
    assert noticed > 125


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_a_truncated_checkpoint_is_one_error(checkpoint, size):
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    with pytest.raises(WsnError, match="corrupt or truncated"):
        load_checkpoint(checkpoint)


DAMAGED = {
    "truncated": GOOD[:30].encode(), "cut in a list": b"tags: [a, b", "empty": b"", "a list": b"- a\n- b\n",
    "binary": bytes(range(256)), "not UTF-8": "tags: [é]".encode("latin-1"), "tabs": b"method:\n\tname: ofa\n",
    "a Python tag": b"method: !!python/object/apply:os.getcwd []\n" + GOOD.encode(),
    "an unknown tag": b"method: !mine {a: 1}\n",
    "text": b"hello", "another config": b"run: x\n", "NUL bytes": GOOD.encode() + b"\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_config_is_one_error_that_names_the_file(kind, tmp_path):
    (tmp_path / "config.yaml").write_bytes(DAMAGED[kind])
    with pytest.raises(WsnError) as error:
        read_config(tmp_path)
    assert str(tmp_path / "config.yaml") in str(error.value)
    assert "is damaged" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_config_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(GOOD)
    assert read_config(tmp_path).method.name == "ofa"


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WsnError, match="Cannot write the run folder .*paths.output_dir"),
        hold(tmp_path / "file/run", "x"),
    ):
        pass


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    code = (
        "import sys, time, pathlib\nfrom wsn.run.folder import hold\n"
        f"with hold(pathlib.Path({str(folder)!r}), 'training'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        message = f"in use: process {process.pid} of .* is training there"
        with pytest.raises(WsnError, match=message), hold(folder, "training"):
            pass
        with hold(folder, "searching"):
            pass
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with hold(folder, "training"):
                return
        except WsnError:
            time.sleep(0.05)
    pytest.fail("the lock outlived its process")


ROWS = [{"id": f"{i:x}", "arch": json.dumps({"depth": [1, i]}), "macs": 100 + i, "acc": i / 8} for i in range(6)]


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def damage(kind, lines):
    """Return the lines of a table with one kind of damage, and how many of its rows are lost."""
    middle = lines[3]
    return {
        "half a row": ([*lines[:3], middle[: len(middle) // 2], b"\n", *lines[4:]], 1),
        "half a row at the end": ([*lines[:-1], lines[-1][:10]], 1),
        "NUL bytes": ([*lines[:3], b"\0\0\0\n", *lines[3:]], 0),
        "NUL bytes in a row": ([*lines[:3], middle[:5] + b"\0" + middle[5:], *lines[4:]], 1),
        "a second header": ([*lines[:3], lines[0], *lines[3:]], 0),
        "an unclosed quote": ([*lines[:3], b'"' + middle, *lines[4:]], 1),
        "more columns": ([*lines[:3], middle.rstrip() + b",1,2\n", *lines[4:]], 1),
        "text for a number": ([*lines[:3], middle.replace(b"102", b"many"), *lines[4:]], 1),
        "binary": ([*lines[:3], bytes(range(128, 200)) + b"\n", *lines[3:]], 0),
        "an empty line": ([*lines[:3], b"\n", *lines[3:]], 0),
        "no subnet": ([*lines[:3], middle.replace(b"depth", b'de"th'), *lines[4:]], 1),
        "the header": ([b"\xff\xfe" + lines[0], *lines[1:]], 6),
        "nothing left": ([], 6),
    }[kind]


DAMAGES = [
    "half a row", "half a row at the end", "NUL bytes", "NUL bytes in a row", "a second header", "an unclosed quote",
    "more columns", "text for a number", "binary", "an empty line", "no subnet", "the header", "nothing left",
]  # fmt: skip


def write_damaged(path, kind):
    """Write a table with one kind of damage; return how many of its rows are lost."""
    table = RowFile(path)
    for row in ROWS:
        table.append(row)
    damaged, lost = damage(kind, lines_of(path))
    path.write_bytes(b"".join(damaged))
    return lost


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_rows_are_set_aside_and_said_and_the_others_kept(kind, tmp_path, capsys):
    path = tmp_path / "evaluations.csv"
    lost = write_damaged(path, kind)
    damaged = path.read_bytes()
    again = RowFile(path)
    assert len(again.rows) == len(ROWS) - lost
    assert all(row in ROWS for row in again.rows)
    if kind != "nothing left":
        assert "set aside in evaluations.damaged" in capsys.readouterr().err
        kept = path.read_bytes() if path.exists() else b""
        assert sorted(kept + (tmp_path / "evaluations.damaged").read_bytes()) == sorted(damaged)
    else:
        assert "is empty" in capsys.readouterr().err
    again.append(ROWS[0])
    assert RowFile(path).rows == [*again.rows]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("kind", DAMAGES)
def test_commands_that_only_read_a_damaged_table_leave_rows_out_and_say_so(kind, tmp_path, capsys):
    path = tmp_path / "evaluations.csv"
    lost = write_damaged(path, kind)
    damaged = path.read_bytes()
    if lost == len(ROWS):
        with pytest.raises(WsnError, match="is damaged"):
            read_subnets(path)
        return
    rows = read_subnets(path)
    assert len(rows) == len(ROWS) - lost
    assert all(row in ROWS for row in rows)
    assert "damaged lines are left out" in capsys.readouterr().err
    assert path.read_bytes() == damaged


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    for name in (".last.123.ckpt", ".subnets.9.csv", ".training.lock", ".gitignore", "last.12.ckpt", ".hydra"):
        (tmp_path / name).touch()
    sweep_away(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".training.lock", ".gitignore", "last.12.ckpt", ".hydra"}


# -- a full disk -----------------------------------------------------------------------------------------------

SHORT = ["method=spos", "method.phases.0.epochs=2", "method.phases.0.warmup_epochs=0", *SMALL]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    command("train.py", *SHORT, out=out)
    return the_run(out)


@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize(
    "name", ["subnets.csv", pytest.param("front.json", marks=SLOW), pytest.param("front.png", marks=SLOW)]
)
def test_a_full_disk_is_one_error_and_the_run_goes_on_from_there(name, undisturbed, tmp_path):
    probe = ["+callbacks.full._target_=helpers.probes.FullDisk", f"+callbacks.full.name={name}"]
    probe += [f"+callbacks.full.once={tmp_path}/once"]
    done = command("train.py", *SHORT, *probe, out=tmp_path, check=False)
    assert done.returncode == 1
    run = the_run(tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert name in errors[0]
    assert "No space left on device" in errors[0]
    assert f"resume={run}" in errors[0]
    assert "Traceback" not in done.stderr
    assert not list(run.rglob(".*.*.*"))  # no half-written file is left
    command("train.py", f"resume={run}", out=tmp_path)
    for table in ("metrics.csv", "subnets.csv"):
        assert read_csv(run / table) == read_csv(undisturbed / table)
    a, b = weights(undisturbed), weights(run)
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
def test_without_room_for_metrics_training_goes_on_and_says_so(undisturbed, tmp_path):
    probe = ["+callbacks.full._target_=helpers.probes.FullDisk", "+callbacks.full.name=metrics.csv"]
    done = command("train.py", *SHORT, *probe, f"+callbacks.full.once={tmp_path}/once", out=tmp_path)
    assert "Cannot write" in done.stderr
    assert read_csv(the_run(tmp_path) / "metrics.csv") == read_csv(undisturbed / "metrics.csv")


def test_an_error_of_the_disk_names_its_file(tmp_path):
    with pytest.raises(OSError, match="No space") as error, replacing(tmp_path / "a.csv"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "a.csv")


@pytest.mark.xdist_group("faults")
def test_a_locale_without_utf8(undisturbed, tmp_path):
    words = ["env", "-u", "LANG", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0", f"OUT={tmp_path}"]
    words += [f"PYTHONPATH={os.path.dirname(__file__)}", "OMP_NUM_THREADS=1", sys.executable, "train.py", *SHORT]
    done = subprocess.run(words, capture_output=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert read_csv(the_run(tmp_path) / "subnets.csv") == read_csv(undisturbed / "subnets.csv")


# -- what is not finite ----------------------------------------------------------------------------------------


def test_an_evaluation_says_how_many_inputs_are_not_finite(net):
    images = torch.randn(20, 1, 24, 24)
    images[[3, 7]] = float("nan")
    images[11, 0, 0, 0] = float("inf")
    batches = [(images[:8], torch.zeros(8).long()), (images[8:], torch.zeros(12).long())]
    with pytest.warns(UserWarning, match="3 of the 20 inputs evaluated have values that are not finite"):
        evaluate(net, [net.space.min()], batches, None, lambda: ImageMetrics(10))


def test_equal_images_are_said_when_the_data_is_opened():
    from wsn.data.fashion_mnist import FashionMNISTSmall

    class Black(FashionMNISTSmall):
        def arrays(self):
            images, *rest = super().arrays()
            return (images * 0, *rest)

    with pytest.raises(WsnError, match="all 10000 training images are equal"):
        Black().setup()


# -- sweeps ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_end_with_their_launcher(tmp_path):
    """As joblib's do not; a training keeps a checkpoint and can be resumed by the same command."""
    sweep = ["-m", "sweep=s", "launcher=joblib", "seed=0,1", *SHORT, "method.phases.0.epochs=400"]
    launcher = start("train.py", *sweep, out=tmp_path)
    deadline = time.monotonic() + 100
    while len(list(tmp_path.rglob("last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = children(launcher.pid)
    assert len(workers) >= 2
    os.kill(launcher.pid, signal.SIGKILL)
    deadline = time.monotonic() + 40
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [w for w in workers if alive(w)]


def children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True).stdout
    direct = [int(word) for word in out.split()]
    return [*direct, *(grandchild for child in direct for grandchild in children_or_none(child))]


def children_or_none(pid):
    try:
        return children(pid)
    except subprocess.CalledProcessError:
        return []


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False
