"""Evaluate subnets of a run: ``python evaluate.py run=outputs/train/...``; anywhere, ``wsn evaluate``."""

import sys

from wsn.run.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate", sys.argv[1:]))
