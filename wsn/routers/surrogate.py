"""A surrogate of the language model's loss, through which a router learns without the model's backward."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wsn.routers.choices import Choices, Weights
from wsn.supernet.precision import full_precision

SMOOTHING = 0.9  # of the measured error


class Surrogate(nn.Module):
    """Two linear layers from the shares of all choices to the loss of each sequence.

    Args:
        choices: of the space.
        hidden: units between the layers.
        threshold: mean error, relative to the loss, below which a router may follow the surrogate.

    Source: Flextron, Cai et al. 2024, arXiv:2406.10260, §3.3, figure 3. Differs: it reads the drawn shares, which the
    loss was measured with, not the logits that they are drawn from.
    """

    error: Tensor

    def __init__(self, choices: Choices, hidden: int = 128, threshold: float = 0.1):
        super().__init__()
        self.keys = list(choices.routed)
        self.threshold = threshold
        count = sum(len(values) for values in choices.routed.values())
        self.net = nn.Sequential(nn.Linear(count, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.register_buffer("error", torch.tensor(1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return predicted losses (B,) of shares (B, number of all choices)."""
        return self.net(features).squeeze(-1)

    def features(self, weights: Weights, batch: int) -> Tensor:
        """Return the shares of each sequence (B, number of all choices); those of tokens are averaged."""
        rows = [full_precision(weights[key]) for key in self.keys]
        rows = [w.expand(batch, -1) if w.ndim == 1 else w.mean(1).expand(batch, -1) for w in rows]
        return torch.cat(rows, -1)

    def losses(self, weights: Weights, measured: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what the surrogate and what the router learn from.

        Args:
            weights: the drawn shares.
            measured: loss of each sequence (B,).

        Returns:
            the squared error of the surrogate, whose gradient does not reach the router; and the predicted loss, whose
            gradient reaches the router alone, or None while the surrogate is not good enough.
        """
        features = self.features(weights, len(measured))
        predicted = self(features.detach())
        error = (predicted.detach() - measured).abs().mean() / measured.mean()
        self.error.mul_(SMOOTHING).add_((1 - SMOOTHING) * error)
        fit = nn.functional.mse_loss(predicted, measured)
        if self.error > self.threshold:
            return fit, None
        fixed = {name: p.detach() for name, p in self.named_parameters()}
        return fit, functional_call(self, fixed, (features,)).mean()
