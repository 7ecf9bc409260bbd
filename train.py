"""Train a supernet: ``python train.py method=ofa backbone=mobilenet``."""

import hydra
from omegaconf import DictConfig

from wsn.config import check, main_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@main_errors
def main(cfg: DictConfig) -> float | None:
    """Check the config at once, then import what is heavy and train."""
    check(cfg)
    from wsn.run.train import train

    return train(cfg)


if __name__ == "__main__":
    main()
