"""A network as config.json and model.safetensors: loads with torch, timm and safetensors alone."""

import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from wsn.config.moved import check_format, stamp
from wsn.config.trust import is_named_by, trusted_modules
from wsn.deploy import hubconf
from wsn.errors import WsnError

# What nn.Module sets itself when it is made.
_OWN = frozenset(vars(nn.Module()))


def save_module(network: nn.Module, folder: Path, about: Mapping[str, Any]) -> Path:
    """Write a network of plain attributes (any of timm's).

    ``config.json`` lists every module as [home, class, attributes], parents first; ``model.safetensors`` has the
    tensors.
    ``hubconf.py`` loads them; source files of the few classes that are neither torch's nor timm's are put beside it.

    Args:
        network: of tensors of its own.
        folder: output folder; it is created.
        about: what else config.json says.

    Raises:
        WsnError: an attribute that JSON does not have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    modules, code = {}, []
    for path, part in network.named_modules():
        home, name = type(part).__module__, type(part).__qualname__
        if home.startswith("wsn."):
            source = Path(inspect.getfile(type(part)))
            home = source.stem
            if source.name not in code:
                code.append(source.name)
                shutil.copy(source, folder / source.name)
        modules[path] = [home, name, _attributes(path, part)]
    buffers = [name for name, _ in network.named_buffers()]
    shutil.copy(Path(inspect.getfile(hubconf)), folder)
    config = {**about, **stamp(), "code": code, "buffers": buffers, "modules": modules}
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    tensors = {name: t.detach().contiguous() for name, t in (*network.named_parameters(), *network.named_buffers())}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def load_module(folder: str | Path, trust: bool = False) -> nn.Module:
    """Read what :func:`save_module` wrote, as ``hubconf.py`` in the folder does without wsn.

    Args:
        folder: of :func:`save_module`.
        trust: whether source files beside the network may run, and modules that are neither torch's nor timm's. Those
            of ``WSN_TRUST`` may, and of source files that are wsn's own wsn's are taken.

    Raises:
        WsnError: the folder holds no such network, a corrupt one, one of a newer version, or code that is not trusted.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        check_format(config, folder)
        homes = {home for home, *_ in config["modules"].values() if is_named_by(home, trusted_modules())}
        known = {**{home: home for home in homes}, **_own_homes(folder, config.get("code", []))}
        return hubconf.subnet(folder, trust, known)
    except PermissionError as error:
        raise WsnError(str(error)) from error
    except WsnError:
        raise
    except Exception as error:  # of JSON, of files, of safetensors
        raise WsnError(f"{folder} is not an exported module: {type(error).__name__}: {error}") from error


def _own_homes(folder: Path, code: Sequence[str]) -> dict[str, str]:
    """Return the source files beside a network that are wsn's own, letter for letter, and wsn's modules of them."""
    package = Path(__file__).parents[1]
    found = {}
    for name in code:
        for path in package.rglob(Path(name).name):
            if path.read_bytes() == (folder / Path(name).name).read_bytes():
                found[path.stem] = ".".join(["wsn", *path.relative_to(package).with_suffix("").parts])
    return found


def _attributes(path: str, part: nn.Module) -> dict[str, Any]:
    """Return a module's own attributes; of parameters, buffers and children those that are None."""
    found = {name: value for name, value in vars(part).items() if name not in _OWN}
    for table in (part._parameters, part._buffers, part._modules):
        found.update((name, None) for name, value in table.items() if value is None)
    for name, value in found.items():
        if not _is_plain(value):
            raise WsnError(
                f"format=module cannot write {path}.{name} of {type(part).__name__}: {value!r} is no JSON. Take "
                "format=program or format=onnx"
            )
    found["training"] = False
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def file_size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size
