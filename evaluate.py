"""Evaluate subnets of a run: ``python evaluate.py run=outputs/train/...``."""

import sys

import hydra
from omegaconf import DictConfig

from wsn.config import command_line, main_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@main_errors
def main(cfg: DictConfig) -> None:
    """Look at the run folder at once, then import what is heavy and evaluate."""
    from wsn.run.folder import read_config

    read_config(cfg.run)
    from wsn.run.evaluate import evaluate_run

    evaluate_run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = command_line(sys.argv[1:], "evaluate")
    main()
