"""Measure a folder of ONNX files on this device: ``python measure.py``. Needs onnxruntime and numpy alone.

Reads parts.csv, writes measured.csv with the median milliseconds of each file.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

import numpy
import onnxruntime


def milliseconds(path: Path, threads: int, warmup: int = 5, seconds: float = 0.2) -> float:
    """Return the median time of one run of a network."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    (given,) = session.get_inputs()
    kind = numpy.int64 if given.type == "tensor(int64)" else numpy.float32
    feed = {given.name: numpy.ones(given.shape, kind)}
    times: list[float] = []
    while len(times) < warmup + 3 or sum(times) < seconds:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[warmup:])


def main() -> None:
    """Measure every file of parts.csv; the first argument is the number of threads."""
    folder = Path(__file__).parent
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with open(folder / "parts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        row["median_ms"] = str(milliseconds(folder / row["file"], threads))
        print(f"{i + 1}/{len(rows)} {row['file']} {float(row['median_ms']):.3f} ms", flush=True)
    with open(folder / "measured.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
