"""Search the subnets of a run: ``python search.py run=outputs/train/... search=nsga2 'constraints=macs<=300e6'``."""

import sys

import hydra
from omegaconf import DictConfig

from wsn.config import command_line, main_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="search")
@main_errors
def main(cfg: DictConfig) -> None:
    """Look at the run folder and the constraints at once, then import what is heavy and search."""
    from wsn.run.folder import read_config
    from wsn.search.constraint import Constraint

    read_config(cfg.run)
    Constraint.parse_all(cfg.constraints)
    from wsn.run.search import search_run

    search_run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = command_line(sys.argv[1:], "search")
    main()
