"""Compare runs by method: ``python compare.py runs=outputs/sweeps/...``; anywhere, ``wsn compare``."""

import sys

from wsn.run.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("compare", sys.argv[1:]))
