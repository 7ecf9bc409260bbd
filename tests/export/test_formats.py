"""What is exported computes what the supernet's view does; plain modules load without wsn."""

import subprocess
import sys

import pytest
import torch
from helpers.documents import block
from helpers.nets import BACKBONES, MORE_BACKBONES, example, randomise

from wsn import WsnError
from wsn.deploy.formats import FORMATS, Source, check_formats
from wsn.deploy.plain import file_size, load_module, save_module

IMAGES = [name for name in {**BACKBONES, **MORE_BACKBONES} if name not in ("llama", "gpt2", "qwen2", "qwen3")]


def source_of(name, subnet=None, seed=0):
    torch.manual_seed(seed)
    net = randomise({**BACKBONES, **MORE_BACKBONES}[name]()).eval()
    subnet = net.space.min() if subnet is None else net.space.find(subnet)
    network = net.extract(subnet).eval()
    return Source(network, [example(net, subnet, 4) for _ in range(2)], {"id": subnet.id})


def expected(source):
    with torch.no_grad():
        out = source.network(source.examples[1])
    return out if isinstance(out, torch.Tensor) else out.logits


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every image backbone's smallest subnet as a module, with an input and the logits."""
    found = {}
    for name in IMAGES:
        folder = tmp_path_factory.mktemp(name)
        source = source_of(name)
        save_module(source.network, folder / "small" / "module", source.about)
        torch.save((source.examples[1], expected(source)), folder / "expected.pt")
        found[name] = folder
    return found


def test_modules_load_by_readmes_lines_without_wsn(folders):
    """In a process in which wsn cannot be imported."""
    repair = "\n".join(  # of a torchvision that does not fit a CPU-only torch; a healthy installation needs it not
        f'torch.library.define("torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")'
        for name in ("nms", "qnms")
    )
    code = f"""
import sys
sys.modules["wsn"] = None
import os, torch
try:
    import torchvision
except RuntimeError:
    for name in [m for m in sys.modules if m.startswith("torchvision")]:
        del sys.modules[name]
    {repair.replace(chr(10), chr(10) + "    ")}
for folder in sys.argv[1:]:
    os.chdir(folder)
    x, expected = torch.load("expected.pt")
    exec(open({str(folders[IMAGES[0]].parent / "snippet.py")!r}).read())
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert "wsn." not in repr([type(m).__module__ for m in net.modules()])
print("all equal")
"""
    (folders[IMAGES[0]].parent / "snippet.py").write_text(block("python: load without wsn", "python"))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders.values())], capture_output=True, text=True, check=False
    )
    assert "all equal" in done.stdout, done.stderr


@pytest.mark.parametrize("name", IMAGES)
def test_modules_come_back_equal(folders, name):
    x, logits = torch.load(folders[name] / "expected.pt")
    with torch.no_grad():
        torch.testing.assert_close(load_module(folders[name] / "small" / "module")(x), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("llama", "vit"))])
def test_onnx_files_agree_for_any_batch(name, tmp_path):
    source = source_of(name, "middle")
    export = FORMATS["onnx"](source, tmp_path)
    for batch in (1, 2, 4):
        x = source.examples[1][:batch]
        assert (export.run(x) - expected(source)[:batch]).abs().max() <= 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]  # weights inside


@pytest.mark.parametrize("name", ["mobilenet", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_programs_agree_for_any_batch(name, tmp_path):
    source = source_of(name)
    export = FORMATS["program"](source, tmp_path)
    program = torch.export.load(export.path).module()
    for batch in (1, 3):
        torch.testing.assert_close(program(source.examples[1][:batch]), expected(source)[:batch], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_int8_is_smaller_and_near(tmp_path):
    source = source_of("mobilenet", "largest")
    whole, small = FORMATS["program"](source, tmp_path / "a"), FORMATS["int8"](source, tmp_path / "b")
    assert file_size(small.path) < 0.75 * file_size(whole.path)
    a, b = whole.run(source.examples[1]), small.run(source.examples[1])
    assert 0 < (a - b).abs().max() < 0.5 * a.abs().max()


def test_int8_of_a_language_model(tmp_path):
    source = source_of("llama", "largest")
    before = expected(source)
    after = FORMATS["int8"](source, tmp_path).run(source.examples[1])
    assert 0 < (before - after).abs().max() < 0.2 * before.abs().max()


def test_hugging_face_folders_load_by_transformers(tmp_path):
    from transformers import AutoModelForCausalLM

    source = source_of("llama")
    FORMATS["huggingface"](source, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert torch.equal(model(input_ids=source.examples[1]).logits, expected(source))


def test_what_a_format_cannot_hold_is_one_error(tmp_path):
    torch.manual_seed(0)
    net = BACKBONES["llama"]()
    uneven = net.extract(net.space.subnet(ffn=[16, 32, 64])).eval()
    with pytest.raises(WsnError, match="different sizes"):
        FORMATS["huggingface"](Source(uneven, [], {}), tmp_path)
    with pytest.raises(WsnError, match="language models"):
        FORMATS["huggingface"](source_of("mobilenet"), tmp_path)
    with pytest.raises(WsnError, match="module, onnx, program, int8, huggingface"):
        check_formats(["tflite"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WsnError, match="not an exported module"):
        load_module(tmp_path)
    odd = torch.nn.Sequential(torch.nn.ReLU())
    odd[0].function = print
    with pytest.raises(WsnError, match=r"0\.function"):
        save_module(odd, tmp_path / "odd", {})
