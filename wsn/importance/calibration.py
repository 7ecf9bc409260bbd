"""Measuring a network on a little text: its device and mode meanwhile, and a fingerprint of what was measured."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from wsn.supernet import Supernet

Batch = tuple[Tensor, Tensor]


@contextmanager
def placed(net: Supernet) -> Iterator[torch.device]:
    """Put a network in evaluation mode, on the GPU if there is one, while it is measured."""
    training, home = net.training, next(net.parameters()).device
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if gpu else home
    net.to(device).eval()
    try:
        yield device
    finally:
        net.to(home)
        net.train(training)


def fingerprint(net: Supernet, batches: Sequence[Batch], settings: str) -> str:
    """Return a name for these weights, this text and these settings."""
    digest = hashlib.sha256(settings.encode())
    for name, tensor in net.model.state_dict().items():
        few = tensor.flatten()[:: max(1, tensor.numel() // 64)].float().cpu()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + few.numpy().tobytes())
    for batch in batches:
        for tensor in batch:
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
