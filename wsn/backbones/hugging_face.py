"""Language models and tokenizers of transformers, from a folder, a GGUF file or the Hugging Face hub."""

from pathlib import Path
from typing import Any

import torch

from wsn.errors import WsnError


def load_pretrained(model_dir: str | Path) -> Any:
    """Load a causal language model of transformers in float32.

    Args:
        model_dir: a folder of ``save_pretrained``, a folder with one GGUF file (needs accelerate and gguf), or a name
            on the Hugging Face hub.

    Raises:
        WsnError: it cannot be read.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": torch.float32}
    folder = Path(model_dir).expanduser()
    try:
        if folder.is_dir():
            model_dir = folder
            gguf = sorted(folder.glob("*.gguf"))
            if gguf and not (folder / "config.json").exists():
                from transformers import GgufConfig

                options.update(gguf_file=gguf[0].name, quantization_config=GgufConfig(dequantize=True))
        model = AutoModelForCausalLM.from_pretrained(model_dir, **options)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise WsnError(
            f"model_dir: cannot load a causal language model from {model_dir}: {first} Pass a folder of "
            "save_pretrained or of a GGUF file (pip install accelerate gguf), or a name on the Hugging Face hub"
        ) from error
    return model.float().train()  # from_pretrained returns it in evaluation mode


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer from a folder (also of a GGUF file) or by name.

    Raises:
        WsnError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    options: dict[str, Any] = {}
    folder = Path(name).expanduser()
    gguf = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if gguf and not (folder / "tokenizer.json").exists():
        options["gguf_file"] = gguf[0].name
    try:
        return AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else name, **options)
    except (OSError, ValueError, ImportError) as error:
        raise WsnError(
            f"data.tokenizer: cannot load {name}: {str(error).strip().splitlines()[0]} Pass bytes, a folder with a "
            "tokenizer, or a name on the Hugging Face hub"
        ) from error
