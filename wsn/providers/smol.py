"""SMoL, AmoebaLLM's shape-aware mixture of LoRAs: the gate sees which layers a subnet keeps, and how wide it is."""

import math
from collections.abc import Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsn.errors import WsnError
from wsn.providers.base import Provider
from wsn.providers.quantised import dense
from wsn.space import Subnet
from wsn.supernet.couple import by_leaf
from wsn.supernet.leaves import set_parameter, shallow, take

GATE_WIDTH = 16


class Gate(nn.Module):
    """Chooses ``top_k`` of the experts for a shape, and their shares, which sum to 1.

    Noise, whose size is learned, explores in training.

    Args:
        features: length of a shape's description.
        experts: number of experts.
        top_k: how many are chosen.

    Source: released code of AmoebaLLM, ``peft/tuners/lora/moe.py`` (two linear layers without an activation between
    them). Differs: no noise in evaluation, so that a subnet is one network.
    """

    def __init__(self, features: int, experts: int, top_k: int):
        super().__init__()
        self.top_k = top_k
        self.route = nn.Sequential(nn.Linear(features, GATE_WIDTH), nn.Linear(GATE_WIDTH, experts))
        self.noise = nn.Linear(features, experts)

    def forward(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Return shares (top_k,) and indices (top_k,) of the experts for a shape (features,)."""
        logits = self.route(shape)
        if self.training and torch.is_grad_enabled():
            logits = logits + torch.randn_like(logits) * F.softplus(self.noise(shape))
        best, indices = logits.topk(self.top_k)
        return best.softmax(-1), indices


class LoraLayer(nn.Module):
    """A linear layer of a view and a low-rank update of it.

    Args:
        base: the narrowed layer.
        down: (r, in), of the kept input channels.
        up: (out, r), of the kept output channels, scaled.
    """

    down: Tensor
    up: Tensor

    def __init__(self, base: Any, down: Tensor, up: Tensor):
        super().__init__()
        self.base: Any = base
        set_parameter(self, "down", down)
        set_parameter(self, "up", up)

    def forward(self, x: Tensor) -> Tensor:
        """Return base(x) + up · down · x, of (..., in)."""
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> nn.Module:
        """Return the layer with the update in its weight."""
        clone, weight, update = shallow(self.base), dense(self.base.weight), self.up @ self.down
        set_parameter(clone, "weight", weight + (update if isinstance(self.base, nn.Linear) else update.T))
        return clone


class SMoL(Provider):
    """LoRA experts for every linear layer of the blocks, mixed by one gate that sees the shape alone.

    The factors are mixed, not the updates: A = Σ gₑ Aₑ, B = Σ gₑ Bₑ, and the update is α/r · B A. A narrowed layer has
    the rows of A and columns of B of its channels. The update is zero at the start (B is).

    Args:
        net: a supernet with the dimensions ``layers`` and ``width``, see
            :func:`wsn.backbones.transformer.shape_space`; the others follow them.
        experts: number of experts E.
        top_k: experts of a shape.
        rank: r.
        alpha: of the scale α/r.

    Raises:
        WsnError: more experts for a shape than there are, or a space of other dimensions.

    Source: AmoebaLLM, Fu et al. 2024, arXiv:2411.10606, §3.3; released code (``peft/tuners/lora/bnb.py``).
    """

    def __init__(self, net: Any, experts: int = 5, top_k: int = 2, rank: int = 64, alpha: float = 16.0):
        super().__init__()
        if not 1 <= top_k <= experts:
            raise WsnError(f"method.lora.top_k must be from 1 to {experts} experts. Received {top_k}")
        dimensions = net.space.dimensions
        if not {"layers", "width"} <= dimensions.keys():
            raise WsnError(f"SMoL needs a space of layers and width. This space has:\n{net.space.describe()}")
        self.widths = dimensions["width"].choices[0]
        self.scale = alpha / rank
        self.gate = Gate(len(dimensions["layers"]) + len(self.widths), experts, top_k)
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for path, choice in net.blocks(net.space.max()).items():
            for name in by_leaf(tuple(net.widths(path, choice).items())):
                leaf = net.model.get_submodule(f"{path}.{name}")
                if hasattr(leaf, "weight") and leaf.weight.ndim == 2:
                    self._add(f"{path}.{name}", leaf, experts, rank)

    def _add(self, path: str, leaf: Any, experts: int, rank: int) -> None:
        """Add the experts of one layer: A uniform as a linear layer's weights, B zero."""
        shape = leaf.weight.shape if isinstance(leaf, nn.Linear) else leaf.weight.shape[::-1]
        bound = 1 / math.sqrt(shape[1])
        self.down[_name(path)] = nn.Parameter(torch.empty(experts, rank, shape[1]).uniform_(-bound, bound))
        self.up[_name(path)] = nn.Parameter(torch.zeros(experts, shape[0], rank))

    def describe(self, subnet: Subnet) -> Tensor:
        """Return what the gate sees of a shape: a flag for each layer, and which width it has."""
        flags = [float(kept) for kept in subnet["layers"]] + [float(subnet["width"] == w) for w in self.widths]
        return torch.tensor(flags, device=self.gate.noise.weight.device)

    def forward(self, net: Any, view: nn.Module, subnet: Subnet) -> None:
        shares, experts = self.gate(self.describe(subnet))
        for path, choice in net.blocks(subnet).items():
            for name, channels in by_leaf(tuple(net.widths(path, choice).items())).items():
                key = _name(f"{path}.{name}")
                if key not in self.down:
                    continue
                down = _mixed(shares, take(self.down[key], channels.get("into"), 2)[experts])
                up = _mixed(shares, take(self.up[key], channels.get("out"), 1)[experts])
                home, _, last = name.rpartition(".")
                owner = view.get_submodule(f"{path}.{home}")
                owner._modules[last] = LoraLayer(owner._modules[last], down, up * self.scale)

    def key(self, subnet: Subnet) -> Hashable:
        return subnet


def _mixed(shares: Tensor, parts: Tensor) -> Tensor:
    """Return the sum of parts (E, ...) by their shares (E,)."""
    return torch.einsum("e,e...->...", shares, parts)


def _name(path: str) -> str:
    return path.replace(".", "_")  # names of parameters have no dots
