"""Making timm models by name, and starting from pretrained weights."""

from pathlib import Path
from typing import Any

import timm

from wsn.errors import WsnError


def create_model(name: str, pretrained: Any, num_classes: int, in_chans: int, **kwargs: Any) -> Any:
    """Make a timm model, with weights from timm or from a file.

    Args:
        name: of the model.
        pretrained: False; True for timm's default weights; a timm tag such as ``ra4_e3600_r224_in1k``; or the path of
            a state dict (.pth, .pt, .safetensors). Another number of classes gets a new classifier, as in timm.
        num_classes: number of classes.
        in_chans: number of input channels; the first convolution is adapted as timm does it.
        **kwargs: passed to ``timm.create_model``.

    Raises:
        WsnError: an unknown model, tag, option or file, or weights of another network.
    """
    family = name.split(".")[0]
    if not timm.is_model(family):
        close = timm.list_models(f"*{family[:8]}*")[:5]
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise WsnError(f"timm has no model {name!r}.{hint} See timm.list_models()")
    path = _weights_file(pretrained)
    overlay = {"file": str(path)} if path else None
    full_name = f"{family}.{pretrained}" if isinstance(pretrained, str) and path is None else name
    try:
        return timm.create_model(
            full_name, pretrained=bool(pretrained), pretrained_cfg_overlay=overlay, num_classes=num_classes,
            in_chans=in_chans, **kwargs,
        )  # fmt: skip
    except TypeError as error:
        raise WsnError(f"timm's {name} does not take these options: {error}. Received {kwargs}") from error
    except (RuntimeError, OSError, ValueError) as error:
        if not pretrained:
            raise
        first = str(error).splitlines()[0]
        raise WsnError(
            f"Cannot start {name} from pretrained={pretrained}: {first}. Allowed are true, a timm tag of this model "
            f"({', '.join(timm.list_pretrained(family + '*')[:3])} ...), or the path of a state dict"
        ) from error


def _weights_file(pretrained: Any) -> Path | None:
    """Return the file that ``pretrained`` names, or None where it is a flag or a tag."""
    if not isinstance(pretrained, str) or not (Path(pretrained).suffix or "/" in pretrained):
        return None
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise WsnError(f"pretrained: there is no file {path}. Pass the path of a state dict, or a timm tag")
    return path
