"""The formats of an exported subnet. Each writes a network and returns how to run what it wrote."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsn.cost_models.runtimes import INPUT, export_onnx, onnx_session
from wsn.deploy.plain import load_module, save_module
from wsn.errors import WsnError, listed

PARITY = 1e-4


@dataclass(frozen=True)
class Export:
    """A written network.

    Args:
        path: file or folder.
        run: what was written, read back: inputs (B, ...) → logits (B, ..., K).
    """

    path: Path
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Source:
    """A network to export.

    Args:
        network: plain, of tensors of its own, BN calibrated, in evaluation mode.
        examples: inputs of the network, at its resolution (B, ...), two samples or more each; real ones.
        about: for config.json.
        tokenizer: of a language model, where there is one.
    """

    network: Any
    examples: Sequence[Tensor]
    about: Mapping[str, Any]
    tokenizer: Any = None

    def is_language(self) -> bool:
        """Tell whether the network is a language model of transformers."""
        return hasattr(self.network, "generate")


def module(source: Source, folder: Path) -> Export:
    """A timm network as config.json and model.safetensors; a language model as a Hugging Face folder."""
    if source.is_language():
        return huggingface(source, folder)
    save_module(source.network, folder, source.about)
    return Export(folder, load_module(folder))


def onnx(source: Source, folder: Path) -> Export:
    """ONNX with a dynamic batch, compared with the network in ONNX Runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    network = _logits_only(source)
    path = export_onnx(network, source.examples[0][:2], folder / "model.onnx", dynamic_batch=True)
    session = onnx_session(path)

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: np.ascontiguousarray(x.numpy())})[0])

    _check_parity(network, run, source.examples, str(path))
    return Export(path, run)


def program(source: Source, folder: Path) -> Export:
    """An exported program (torch.export, ATen): ``torch.export.load(path).module()``; ExecuTorch lowers it."""
    folder.mkdir(parents=True, exist_ok=True)
    network, path = _logits_only(source), folder / "model.pt2"
    torch.export.save(_exported(network, source.examples[0]), path)
    loaded = torch.export.load(path).module()
    _check_parity(network, loaded, source.examples, str(path))
    return Export(path, loaded)


def int8(source: Source, folder: Path) -> Export:
    """An exported program with int8 weights and activations (torchao, post-training, calibrated on training images)."""
    if source.is_language():
        return _int8_weights(source, folder)
    try:
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    except ImportError as error:
        raise WsnError("This needs torchao. Run: pip install 'wsn[export]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = prepare_pt2e(_exported(source.network, source.examples[0]).module(), quantizer)
        for example in source.examples:
            prepared(example)
        converted = convert_pt2e(prepared)
        _drop_unused(converted)
        path = folder / "model_int8.pt2"
        torch.export.save(_exported(converted, source.examples[0]), path)
    return Export(path, torch.export.load(path).module())


def huggingface(source: Source, folder: Path) -> Export:
    """A folder that ``AutoModelForCausalLM.from_pretrained`` loads, with the tokenizer."""
    if not source.is_language():
        raise WsnError("format=huggingface is for language models; this run has images. Take format=module")
    from transformers import AutoModelForCausalLM

    _check_equal_layers(source.network)
    source.network.save_pretrained(folder)
    if source.tokenizer is not None and hasattr(source.tokenizer, "save_pretrained"):
        source.tokenizer.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Export(folder, lambda tokens: loaded(input_ids=tokens, use_cache=False).logits)


def _check_equal_layers(network: Any) -> None:
    """Check that a configuration of transformers describes a language model."""
    if getattr(network.config, "wsn_layers", None):
        raise WsnError(
            "This subnet's layers have different sizes, or biases, which no Hugging Face config describes. Export a "
            "subnet of equal layers (heads and ffn the same in all; method.compensate=false), or take format=program"
        )


FORMATS: Mapping[str, Callable[[Source, Path], Export]] = {
    "module": module,
    "onnx": onnx,
    "program": program,
    "int8": int8,
    "huggingface": huggingface,
}


def check_formats(names: Sequence[str], others: Sequence[str] = ()) -> None:
    """Check the names of formats.

    Raises:
        WsnError: an unknown one.
    """
    unknown = [name for name in names if name not in (*FORMATS, *others)]
    if unknown or not names:
        allowed = listed([*FORMATS, *others])
        raise WsnError(f"format must be one of {allowed}. Received {unknown[0] if unknown else ''!r}")


class _Logits(nn.Module):
    """A language model as a function from tokens (B, T) to logits (B, T, V)."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        return self.network(input_ids=tokens, use_cache=False).logits


def _logits_only(source: Source) -> nn.Module:
    return _Logits(source.network).eval() if source.is_language() else source.network


def _exported(network: nn.Module, example: Tensor) -> Any:
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


def _check_parity(network: nn.Module, run: Callable[[Tensor], Tensor], examples: Sequence[Tensor], what: str) -> None:
    """Compare what was written with the network, on batches of several sizes."""
    x = examples[0]
    for batch in (x, x[:1]):
        with torch.no_grad():
            difference = (run(batch) - network(batch)).abs().max().item()
        if not difference <= PARITY:
            raise WsnError(f"{what} differs from the network by {difference:.2g}, more than {PARITY:g}")


def _int8_weights(source: Source, folder: Path) -> Export:
    """Quantise the linear layers' weights of a language model: config.json, and a state dict for ``assign=True``."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise WsnError("This needs torchao. Run: pip install 'wsn[export]'") from error
    from transformers import AutoConfig, AutoModelForCausalLM

    _check_equal_layers(source.network)
    network = copy.deepcopy(source.network)
    head = network.lm_head  # often tied to the embedding
    quantize_(network, Int8WeightOnlyConfig(), lambda m, _: isinstance(m, nn.Linear) and m is not head)
    network.config.save_pretrained(folder)
    path = folder / "model_int8.pt"
    torch.save(network.state_dict(), path)
    loaded = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    loaded.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return Export(path, lambda tokens: loaded(input_ids=tokens, use_cache=False).logits)


def _drop_unused(converted: Any) -> None:
    """Remove the float weights that a converted graph no longer reads."""
    used = {str(node.target) for node in converted.graph.nodes if node.op == "get_attr"}
    names = [name for name, _ in (*converted.named_parameters(), *converted.named_buffers())]
    for name in names:
        if name not in used:
            owner, _, last = name.rpartition(".")
            part = converted.get_submodule(owner)
            part._parameters.pop(last, None)
            part._buffers.pop(last, None)
