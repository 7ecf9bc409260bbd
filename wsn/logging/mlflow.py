"""MLflow, one run of it per run folder."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger as LightningMLFlowLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


class MLFlowLogger(LightningMLFlowLogger):
    """Lightning's MLFlowLogger that goes on in the same MLflow run after a resume.

    Args:
        folder: the run folder, whose ``mlflow_run_id`` names the run.
        options: of Lightning's logger.
    """

    def __init__(self, folder: str | Path, **options: Any):
        self._id_file = Path(folder) / "mlflow_run_id"
        self._known = self._id_file.read_text("utf-8").strip() if self._id_file.exists() else None
        super().__init__(run_id=self._known, **options)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the MLflow client, after the run has been made and its id noted."""
        client = super().experiment
        if not self._id_file.exists():
            self._id_file.parent.mkdir(parents=True, exist_ok=True)
            self._id_file.write_text(str(self._run_id), "utf-8")
        return client

    def log_hyperparams(self, params: Any) -> None:
        """Log the config, once: MLflow refuses values that a resume changes."""
        if self._known is None:
            super().log_hyperparams(params)
