"""Train a supernet: ``python train.py method=ofa backbone=mobilenet``; anywhere, ``wsn train``."""

import sys

from wsn.run.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("train", sys.argv[1:]))
