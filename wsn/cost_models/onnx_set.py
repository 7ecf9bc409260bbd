"""The blocks of a supernet as ONNX files, to be measured on a device that has no PyTorch."""

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from wsn.cost_models import measure_onnx
from wsn.cost_models.macs import Part
from wsn.cost_models.runtimes import Timing, export_onnx
from wsn.cost_models.table import LatencyTable, key_of, part_input
from wsn.errors import WsnError
from wsn.supernet import Supernet
from wsn.supernet.leaves import detach_tree

COLUMNS = ("file", "part", "choices", "input")


def write_onnx_set(
    net: Supernet, parts: Sequence[Part], folder: Path, batch: int = 1, on_part: Callable[[], None] | None = None
) -> Path:
    """Write each part as an ONNX file, with ``parts.csv`` and ``measure.py``; what is there already is left.

    Args:
        net: the supernet.
        parts: of :func:`wsn.cost_models.table.parts_of_space`.
        folder: output folder; it is created.
        batch: samples per forward.
        on_part: called after each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, part in enumerate(parts):
        path = folder / f"{i:04}.onnx"
        if not path.exists():
            temporary = path.with_suffix(".part")
            export_onnx(detach_tree(net.part(part.name, part.choice)).eval(), part_input(part, batch), temporary)
            temporary.rename(path)
        rows.append(dict(zip(COLUMNS, (path.name, *key_of(part)))))
        if on_part:
            on_part()
    with open(folder / "parts.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    shutil.copy(measure_onnx.__file__, folder / "measure.py")
    return folder


def read_measured(path: Path, device: str) -> LatencyTable:
    """Make a latency table of a CSV with part, choices, input and median_ms, as ``measure.py`` writes it.

    Args:
        path: of the CSV.
        device: what it was measured on, in words.

    Raises:
        WsnError: the file is missing or of another form.
    """
    table = LatencyTable()
    table.measured_on = {"name": device, "source": path.name}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = (row["part"], row["choices"], row["input"])
                table.entries[key] = Timing(float(row["median_ms"]), 0.0, 0)
    except OSError as error:
        raise WsnError(f"Cannot read {path}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise WsnError(
            f"{path} is not a table of measurements: it needs the columns part, choices, input, median_ms ({error!r})"
        ) from error
    return table
