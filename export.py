"""Export subnets of a run: ``python export.py run=outputs/train/... subnet=best``; anywhere, ``wsn export``."""

import sys

from wsn.run.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("export", sys.argv[1:]))
