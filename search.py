"""Search the subnets of a run: ``python search.py run=outputs/train/... search=nsga2``; anywhere, ``wsn search``."""

import sys

from wsn.run.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("search", sys.argv[1:]))
