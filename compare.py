"""Compare runs by method: ``python compare.py outputs/sweeps/...``."""

import sys


def main() -> int:
    """Import what is heavy only now."""
    from wsn.run.compare import main as compare

    return compare()


if __name__ == "__main__":
    sys.exit(main())
