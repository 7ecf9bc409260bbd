"""Images that have several labels each."""

from typing import Any

from wsn.data.base import ImageDataModule
from wsn.errors import WsnError
from wsn.evaluation.metrics import MultilabelMetrics, SubnetMetrics
from wsn.evaluation.task import MULTILABEL


class MultilabelData(ImageDataModule):
    """Images with any number of ``num_classes`` labels: binary cross-entropy, mean average precision.

    A batch is images float (B, C, H, W) and labels (B, num_classes) int64, 0 or 1. Subclasses write ``datasets``.

    Args:
        **kwargs: as for :class:`wsn.data.base.ImageDataModule`.

    Raises:
        WsnError: mixup or CutMix, which mix classes.
    """

    task = MULTILABEL

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        if self.mixup is not None:
            raise WsnError("Images with several labels are not mixed. Set data.mixup=0 data.cutmix=0")

    def metrics(self) -> SubnetMetrics:
        """Return the metrics of one subnet."""
        return MultilabelMetrics(self.num_classes)
