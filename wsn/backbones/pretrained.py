"""timm models by name, new or with pretrained weights."""

import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import nn
from torch.func import functional_call

from wsn.cost_models.macs import count_macs
from wsn.errors import WsnError
from wsn.space import Subnet
from wsn.supernet import Supernet


def create_model(name: str, pretrained: Any, num_classes: int, in_chans: int, **kwargs: Any) -> Any:
    """Make a timm model, with weights from timm or from a file.

    Args:
        name: timm's name of the model.
        pretrained: False; True for timm's default weights; a timm tag such as ``ra4_e3600_r224_in1k``; or the path of
            a state dict (.pth, .pt, .safetensors). Another number of classes gets a new classifier, as in timm.
        num_classes: number of classes.
        in_chans: number of input channels; the first convolution is adapted as timm does it.
        **kwargs: passed to ``timm.create_model``. An ``output_stride`` that the model does not have is left out, with a
            warning.

    Raises:
        WsnError: an unknown model, tag, option or file, or weights of another network.
    """
    family = name.split(".")[0]
    if not timm.is_model(family):
        close = timm.list_models(f"*{family[:8]}*")[:5]
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise WsnError(f"timm has no model {name!r}.{hint} See timm.list_models()")
    if kwargs.get("output_stride") == 32:
        del kwargs["output_stride"]  # what every model has, and few take as an option
    path = _weights_file(pretrained)
    state = _read(path) if path else {}
    overlay = {"file": str(path), "num_classes": _classes(state, family)} if path else None
    full_name = f"{family}.{pretrained}" if isinstance(pretrained, str) and path is None else name
    try:
        network = timm.create_model(
            full_name, pretrained=bool(pretrained), pretrained_cfg_overlay=overlay, num_classes=num_classes,
            in_chans=in_chans, **kwargs,
        )  # fmt: skip
    except TypeError as error:
        if "output_stride" in kwargs and "output_stride" in str(error):
            wished = kwargs.pop("output_stride")
            warnings.warn(
                f"timm's {name} keeps its own total stride: output_stride={wished} is not for it", stacklevel=2
            )
            return create_model(name, pretrained, num_classes, in_chans, **kwargs)
        raise WsnError(f"timm's {name} does not take these options: {error}. Received {kwargs}") from error
    except (RuntimeError, OSError, ValueError) as error:
        if not pretrained:
            raise
        first = str(error).splitlines()[0]
        raise WsnError(
            f"Cannot start {name} from pretrained={pretrained}: {first}. Allowed are true, a timm tag of this model "
            f"({', '.join(timm.list_pretrained(family + '*')[:3])} ...), or the path of a state dict"
        ) from error
    if path:
        _check_loaded(network, state, path)
    return network


def check_fit(name: str, network: nn.Module, in_chans: int, resolutions: Iterable[float]) -> None:
    """Check that a network takes images (in_chans, R, R) of every resolution, by a forward of shapes alone.

    Raises:
        WsnError: a resolution that it does not take; the text has the smallest that it does.
    """
    for resolution in sorted(resolutions):
        error = misfit(network, in_chans, int(resolution))
        if error is not None:
            fits = next((r for r in range(4, 513, 4) if r > resolution and not misfit(network, in_chans, r)), None)
            raise WsnError(
                f"{name} does not take images of {resolution} px: {error}. "
                + (f"The smallest that fit are {fits} px: set backbone.resolution=[{fits}]" if fits else "None fit")
                + ", or, if the model has it, a smaller total stride: backbone.output_stride=8"
            )


def check_views(name: str, net: Supernet, subnets: Iterable[Subnet], others: str) -> None:
    """Check by shapes alone that the layers of subnets fit together: of a network that wsn does not know, who knows.

    Raises:
        WsnError: they do not.
    """
    for subnet in subnets:
        error: str | None
        try:
            error = misfit(net.view(subnet), net.in_chans, int(subnet["resolution"]))
        except (RuntimeError, TypeError, AttributeError) as raised:  # of narrowing itself
            error = str(raised).splitlines()[0]
        if error is not None:
            small = ", ".join(f"{n}={v}" for n, v in subnet.items() if not isinstance(v, tuple))
            raise WsnError(
                f"timm's {name} cannot be narrowed so: in the subnet with {small} its layers do not fit together "
                f"({error}). Take another backbone.model, {others}"
            )


def misfit(network: nn.Module, in_chans: int, resolution: int) -> str | None:
    """Return what is wrong with a resolution; None: nothing."""
    state = {n: t.to("meta") for n, t in itertools.chain(network.named_parameters(), network.named_buffers())}
    try:
        images = torch.empty(2, in_chans, resolution, resolution, device="meta")
        _, out = count_macs(lambda x: functional_call(network, state, x), images)  # type: ignore[arg-type]
    except (RuntimeError, ValueError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".") or type(error).__name__
    return None if out.numel() else "nothing is left of them"


def _check_loaded(network: Any, state: dict[str, Any], path: Path) -> None:
    """Check that a file has every parameter but the classifier's: timm does not mind a file of another network."""
    classifier = _classifier(network.pretrained_cfg)
    lacking = [n for n, _ in network.named_parameters() if n not in state and not n.startswith(classifier)]
    if lacking:
        raise WsnError(
            f"pretrained: {path} is not a state dict of timm's {network.pretrained_cfg['architecture']}: it lacks "
            f"{len(lacking)} of its parameters, e.g. {lacking[0]}. Take another backbone.model or file"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return load_state_dict(str(path), weights_only=True)
    except Exception as error:  # of pickle, zip, safetensors, torch
        raise WsnError(f"pretrained: cannot read {path} as a state dict: {error}") from error


def _classes(state: dict[str, Any], model: str) -> int:
    """Return how many classes a state dict has: timm keeps its classifier if the model has as many."""
    weight = state.get(f"{_classifier(vars(timm.get_pretrained_cfg(model)))[0]}.weight")
    return 0 if weight is None else len(weight)


def _classifier(cfg: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of a model's classifiers."""
    names = cfg["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def _weights_file(pretrained: Any) -> Path | None:
    """Return the file that ``pretrained`` names, or None where it is a flag or a tag."""
    if not isinstance(pretrained, str) or not (Path(pretrained).suffix or "/" in pretrained):
        return None
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise WsnError(f"pretrained: there is no file {path}. Pass the path of a state dict, or a timm tag")
    return path
