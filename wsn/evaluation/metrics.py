"""Metrics of one subnet on a data set, by torchmetrics."""

import math
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MultilabelAveragePrecision, MultilabelF1Score
from torchmetrics.text import Perplexity

from wsn.losses import counted, label_loss, two_classes_each


class SubnetMetrics(nn.Module):
    """Metrics of one subnet: :meth:`update` with each batch, then :meth:`results`, a value for each of ``names``."""

    names: tuple[str, ...] = ()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch, as the network and the loader give it."""
        raise NotImplementedError

    def results(self) -> dict[str, float]:
        """Return name → value."""
        raise NotImplementedError


class ImageMetrics(SubnetMetrics):
    """``acc`` (top-1) and ``acc5`` in [0, 1], and ``loss`` (cross-entropy, nats).

    Args:
        num_classes: number of classes.
    """

    names = ("acc", "acc5", "loss")

    def __init__(self, num_classes: int):
        super().__init__()
        top5 = min(5, num_classes)
        self.accuracy = MetricCollection(
            {
                "acc": MulticlassAccuracy(num_classes, average="micro", sync_on_compute=False),
                "acc5": MulticlassAccuracy(num_classes, top_k=top5, average="micro", sync_on_compute=False),
            },
            compute_groups=False,
        )
        self.loss = MeanMetric(sync_on_compute=False)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        self.accuracy.update(logits, labels)
        self.loss.update(label_loss(logits, labels), weight=len(labels))

    def results(self) -> dict[str, float]:
        values = {name: value.item() for name, value in self.accuracy.compute().items()}
        return {**values, "loss": self.loss.compute().item()}


class MultilabelMetrics(SubnetMetrics):
    """``map`` (mean average precision over the labels) and ``f1`` (macro, at 0.5) in [0, 1]; ``loss`` (nats).

    Args:
        num_labels: number of labels.
    """

    names = ("map", "f1", "loss")

    def __init__(self, num_labels: int):
        super().__init__()
        options: dict[str, Any] = {"num_labels": num_labels, "average": "macro", "sync_on_compute": False}
        self.scores = MetricCollection(
            {"map": MultilabelAveragePrecision(**options), "f1": MultilabelF1Score(**options)}, compute_groups=False
        )
        self.loss = MeanMetric(sync_on_compute=False)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        self.scores.update(logits.sigmoid(), labels.long())
        self.loss.update(label_loss(*two_classes_each(logits, labels)), weight=len(labels))

    def results(self) -> dict[str, float]:
        values = {name: value.item() for name, value in self.scores.compute().items()}
        return {**values, "loss": self.loss.compute().item()}


class LanguageMetrics(SubnetMetrics):
    """``perplexity`` of tokens, ``bits_per_byte`` of text, ``acc`` (tokens right) and ``loss`` (nats per token).

    Args:
        bytes_per_token: mean length of the data's tokens in UTF-8.
    """

    names = ("perplexity", "bits_per_byte", "acc", "loss")

    def __init__(self, bytes_per_token: float):
        super().__init__()
        self.bytes_per_token = bytes_per_token
        options: dict[str, Any] = {"sync_on_compute": False}
        self.perplexity: Metric = Perplexity(**options)
        self.accuracy = MeanMetric(sync_on_compute=False)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        logits, labels = counted(logits, labels)  # not padding
        self.perplexity.update(logits.unsqueeze(0), labels.unsqueeze(0))
        self.accuracy.update((logits.argmax(-1) == labels).float())

    def results(self) -> dict[str, float]:
        perplexity = self.perplexity.compute().item()
        loss = math.log(perplexity)
        return {
            "perplexity": perplexity,
            "bits_per_byte": loss / math.log(2) / self.bytes_per_token,
            "acc": self.accuracy.compute().item(),
            "loss": loss,
        }
