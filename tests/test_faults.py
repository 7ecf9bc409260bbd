"""Damaged and shared run folders: one error that names the file or the process, and nothing read wrong in silence."""

import random
import subprocess
import sys
import time

import pytest
import torch

from wsn import WsnError
from wsn.callbacks.checkpoint import load_checkpoint
from wsn.run.folder import hold, read_config

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
