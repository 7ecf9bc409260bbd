"""Train a supernet: ``python train.py method=ofa backbone=mobilenet``."""

import sys

import hydra
from omegaconf import DictConfig

from wsn.config import check, main_errors, quoted
from wsn.run.finetune import adopt_run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@main_errors
def main(cfg: DictConfig) -> float | None:
    """Check the config at once, then import what is heavy and train."""
    cfg = adopt_run(cfg)
    check(cfg)
    from wsn.run.train import train

    return train(cfg)


if __name__ == "__main__":
    sys.argv[1:] = quoted(sys.argv[1:])
    main()
