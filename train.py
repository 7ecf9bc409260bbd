"""Train a supernet: ``python train.py method=ofa backbone=mobilenet``."""

import sys

import hydra
from omegaconf import DictConfig

from wsn.config import check, command_line, main_errors, require_plugin
from wsn.config.moved import migrate
from wsn.run.finetune import adopt_run
from wsn.run.job import in_sweep, objective, run_job


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@main_errors
def main(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Train, or in a multirun one job of it; return what a sweeper optimises."""
    metrics = run_job(cfg, run) if in_sweep() else run(cfg)
    return objective(cfg.optimized_metric, metrics) if in_sweep() else None


def run(cfg: DictConfig) -> dict[str, float]:
    """Check the config at once, then import what is heavy and train."""
    cfg = adopt_run(migrate(cfg))
    check(cfg)
    from wsn.run.train import train

    return train(cfg)


if __name__ == "__main__":
    sys.argv[1:] = command_line(sys.argv[1:])
    require_plugin(sys.argv[1:])
    main()
