"""Images at a subnet's resolution."""

import torch.nn.functional as F
from torch import Tensor

from wsn.space import Subnet


def at_resolution(images: Tensor, subnet: Subnet) -> Tensor:
    """Resize (B, C, H, W) to the subnet's resolution (bicubic, antialiased); a space without one leaves it."""
    resolution = subnet.get("resolution")
    if resolution is None or images.shape[-2:] == (resolution, resolution):
        return images
    size = (int(resolution), int(resolution))
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def not_finite(inputs: Tensor) -> int:
    """Return how many inputs (B, ...) have a value that is not finite; a sum tells whether to look. Tokens: none."""
    if not inputs.is_floating_point() or bool(inputs.sum().isfinite()):
        return 0
    return int((~inputs.flatten(1).isfinite()).any(1).sum())
