"""``python -m wsn``: the same as the command ``wsn``."""

import sys

from wsn.run.cli import main

if __name__ == "__main__":
    sys.exit(main())
