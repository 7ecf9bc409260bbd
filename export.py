"""Export subnets of a run: ``python export.py run=outputs/train/... 'subnet=best@macs<=200e6' format=onnx``."""

import sys

import hydra
from omegaconf import DictConfig

from wsn.config import command_line, main_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
@main_errors
def main(cfg: DictConfig) -> None:
    """Look at the run folder and the subnet at once, then import what is heavy and export."""
    from wsn.run.folder import read_config
    from wsn.run.known import check_spec

    read_config(cfg.run)
    check_spec(cfg.subnet)
    from wsn.run.export import export_run

    export_run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = command_line(sys.argv[1:], "export")
    main()
