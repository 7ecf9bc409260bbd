"""A method with a step of its own: the largest subnet learns from labels, the others from labels and features alike."""

from collections.abc import Iterator, Sequence

from torch.nn.functional import cross_entropy

from wsn.methods.base import Batch, Method, Pass
from wsn.samplers.base import Draw
from wsn.supernet import Supernet


class Scaled(Method):
    """Cross-entropy of every subnet, the later ones scaled by ``share``."""

    def __init__(self, share: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.share = share

    def step(self, net: Supernet, batch: Batch, draws: Sequence[Draw]) -> Iterator[Pass]:
        inputs, labels = batch
        for place, draw in enumerate(draws):
            logits = net.predict(net.view(draw.subnet), inputs, draw.subnet)
            yield Pass(draw.role, cross_entropy(logits, labels) * self.share**place, logits.detach())
