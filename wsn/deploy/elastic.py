"""A front in one copy of the weights: what :class:`wsn.ElasticPredictor` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsn.config import build, build_group
from wsn.config.moved import check_format, migrate, stamp
from wsn.config.trust import check_trusted
from wsn.errors import WsnError
from wsn.evaluation.quality import quality_of, read_quality, write_quality
from wsn.space import SearchSpace
from wsn.supernet import Supernet

INDEX, WEIGHTS, STATISTICS, CONFIG, LANGUAGE, SPACE = (
    "elastic.json", "weights.safetensors", "statistics.safetensors", "config.yaml", "largest", "space.json",
)  # fmt: skip


def save_elastic(
    net: Supernet, views: Sequence[nn.Module], rows: Sequence[Mapping[str, Any]], cfg: DictConfig, folder: Path
) -> Path:
    """Write a supernet and some members of it.

    Args:
        net: the supernet.
        views: the members' views, BN calibrated.
        rows: what is known of each member, with its ``id`` and ``arch``.
        cfg: config of the run: backbone and method.
        folder: output folder; it is created.

    Raises:
        WsnError: subnets are more than slices of shared weights.
    """
    if len(net.providers):
        raise WsnError(
            "format=elastic holds slices of weights, and these subnets have LoRAs or biases of their own. Export "
            "them one by one: format=huggingface"
        )
    folder.mkdir(parents=True, exist_ok=True)
    saved = OmegaConf.create({"backbone": cfg.backbone, "method": cfg.method})
    if net.inputs == "images":
        if saved.backbone.get("pretrained"):
            saved.backbone.pretrained = False
    else:
        net.model.save_pretrained(folder / LANGUAGE)
    state = net.state_dict() if net.inputs == "images" else own_state(net)
    if state:
        save_file({name: t.contiguous() for name, t in state.items()}, folder / WEIGHTS)
    OmegaConf.save(saved, folder / CONFIG)
    (folder / SPACE).write_text(net.space.to_json(), "utf-8")
    stored: dict[str, Tensor] = {}
    names: dict[int, str] = {}  # members that begin alike have statistics in common: each is stored once
    same: dict[str, str] = {}
    for row, view in zip(rows, views):
        for name, tensor in statistics(view).items():
            full = f"{row['id']}/{name}"
            same[full] = names.setdefault(tensor.data_ptr(), full)
            stored[same[full]] = tensor.contiguous()
    save_file(stored, folder / STATISTICS)
    write_quality(quality_of(rows), folder)
    (folder / INDEX).write_text(json.dumps({**stamp(), "members": list(rows), "statistics": same}, indent=1), "utf-8")
    return folder


def load_elastic(
    folder: str | Path, device: str = "cpu", trust: Sequence[str] = ()
) -> tuple[Supernet, list[tuple[dict[str, Any], nn.Module]]]:
    """Read what :func:`save_elastic` wrote: the supernet, and row and view of each member.

    Args:
        folder: of :func:`save_elastic`.
        device: where the tensors are put.
        trust: modules that its config may name, see :mod:`wsn.config.trust`.

    Raises:
        WsnError: the folder holds no exported front, or a file of it is corrupt.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise WsnError(
            f"{folder} holds no exported front (no {INDEX}). Make one: wsn export run=... subnet=front format=elastic"
        )
    try:
        cfg: Any = migrate(OmegaConf.load(folder / CONFIG))  # type: ignore[arg-type]
        index = json.loads((folder / INDEX).read_text("utf-8"))
        check_format(index, folder)
        read_quality(folder)
        space = SearchSpace.from_json((folder / SPACE).read_text("utf-8")) if (folder / SPACE).exists() else None
        stored = load_file(folder / STATISTICS, device)
        rows, found = index["members"], {name: stored[first] for name, first in index["statistics"].items()}
        weights = load_file(folder / WEIGHTS) if (folder / WEIGHTS).exists() else None
    except WsnError:
        raise
    except Exception as error:  # of YAML, JSON, files, safetensors
        raise WsnError(f"The exported front {folder} is corrupt: {type(error).__name__}: {error}") from error
    check_trusted(cfg, folder / CONFIG, trust)
    if (folder / LANGUAGE).is_dir():
        cfg.backbone.model_dir = str(folder / LANGUAGE)
    net: Supernet = build(cfg.method).prepare(build_group(cfg.backbone), space)
    if weights is not None:
        largest = (
            {} if net.inputs == "images" else net.model.state_dict(prefix="model.")
        )  # of a language model: read already
        net.load_state_dict({**largest, **weights})
    net.eval().requires_grad_(False).to(device)  # before the views are made, or each would have a copy there
    return net, [(row, _member(net, row, found)) for row in rows]


def own_state(net: Supernet) -> dict[str, Tensor]:
    """Return what a supernet's state has besides the largest network's, e.g. a router."""
    return {name: t for name, t in net.state_dict().items() if not name.startswith("model.")}


def statistics(view: nn.Module) -> dict[str, Tensor]:
    """Return the batch-norm statistics of a network by name."""
    return {
        f"{path}.{name}": buffer
        for path, part in view.named_modules()
        if isinstance(part, _BatchNorm)
        for name, buffer in part._buffers.items()
        if buffer is not None
    }


def _member(net: Supernet, row: Mapping[str, Any], found: Mapping[str, Tensor]) -> nn.Module:
    with torch.no_grad():
        view = net.view(net.space.find(row["arch"])).eval()
    for path, part in view.named_modules():
        if isinstance(part, _BatchNorm):
            part._buffers.update({name: found[f"{row['id']}/{path}.{name}"] for name in part._buffers})
    return view
