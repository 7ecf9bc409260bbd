"""Time a comparison of many runs: ``python benchmarks/compare.py`` makes run folders and compares them.

Every run has a panel of its own, so that no subnet is shared: the largest page that so many rows can make.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "comparison"))
from synthetic import METHODS, write_sweep

from wsn.comparison.page import write_page
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison
from wsn.run.compare import compare


def main(runs, subnets, out):
    methods, seeds = [f"{m}{v}" for v in ("", "_b") for m in METHODS][: max(1, runs // 10)], min(runs, 10)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(out or folder)
        write_sweep(root / "runs", methods, seeds, subnets, own_panels=True)
        start = time.perf_counter()
        comparison = Comparison(*find_runs([root / "runs"]))
        read = time.perf_counter()
        write_page(comparison, root / "report.html")
        page = time.perf_counter()
        used = time.process_time()
        compare([root / "runs"], root)
        whole, used = time.perf_counter(), time.process_time() - used
        size = (root / "report.html").stat().st_size / 1e6
        print(f"{len(methods) * seeds} runs of {subnets} subnets and {len(comparison.plain)} of one trained alone")
        print(f"read {read - start:.1f} s, page {page - read:.1f} s")
        print(f"all that compare.py writes, anew: {whole - page:.1f} s, {used:.1f} s of a core")
        print(f"report.html: {size:.1f} MB, of which plotly.js 4.8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--subnets", type=int, default=500)
    parser.add_argument("--out", help="keep folders and page there")
    arguments = parser.parse_args()
    main(arguments.runs, arguments.subnets, arguments.out)
