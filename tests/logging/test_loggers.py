"""TensorBoard and MLflow get what metrics.csv gets, and go on after a resume."""

import pytest
from helpers.scripts import FEW, command, the_run

from wsn.files import read_csv

pytestmark = pytest.mark.xdist_group("loggers")  # one process makes the run that the tests share

SHORT = [
    *FEW,
    "debug=fast", "method=spos", "method.phases.0.epochs=1", "method.phases.0.warmup_epochs=0", "evaluation=single",
    "evaluation.panel=0", "trainer.enable_progress_bar=false", "paths.output_dir=${oc.env:OUT}",
]  # fmt: skip


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run that is killed after its first optimizer step and goes on."""
    out = tmp_path_factory.mktemp("loggers")
    kill = [
        "+callbacks.kill._target_=helpers.probes.KillAt",
        "+callbacks.kill.step=2",
        "+callbacks.kill.once=${oc.env:OUT}/k",
    ]
    loggers = ["logger=[tensorboard,mlflow]", "callbacks.checkpoint.every_n_steps=1"]
    command("train.py", *SHORT, *loggers, *kill, "trainer.limit_train_batches=3", out=out, check=False)
    run = the_run(out)
    assert not (run / "subnets.csv").exists()
    command("train.py", f"resume={run}", out=out)
    return out, run


def last_of(run, name):
    return [r[name] for r in read_csv(run / "metrics.csv") if r.get(name) is not None][-1]


def test_tensorboard_has_the_metrics_and_the_config(resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, run = resumed
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for name in ("train/loss", "test/alone/acc", "pareto/hypervolume", "train/gmacs_spent"):
        assert events.Scalars(name)[-1].value == pytest.approx(last_of(run, name))
    assert "spos" in (run / "tensorboard" / "hparams.yaml").read_text()


def test_mlflow_has_one_run_with_the_metrics_and_the_config(resumed):
    from mlflow import MlflowClient

    out, run = resumed
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    experiment = client.get_experiment_by_name("wsn")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == (run / "mlflow_run_id").read_text()
    assert found.data.metrics["test/alone/acc"] == pytest.approx(last_of(run, "test/alone/acc"))
    assert found.data.params["method/name"] == "spos"
