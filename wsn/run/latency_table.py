"""``wsn latency-table run=... device=cpu``: measure the blocks of a supernet once on this device."""

from pathlib import Path
from random import Random
from typing import Any

from wsn.files import place_for
from wsn.run.folder import read_config


def build_table(**options: Any) -> Path:
    """Measure here, or write what is measured elsewhere, or read what was measured there.

    Args:
        **options: of ``wsn latency-table``, see :mod:`wsn.run.cli`.

    Returns:
        the table, or the folder of blocks to measure.

    Raises:
        WsnError: not a run folder, an unknown device, or a damaged ``measured.csv``.
    """
    read_config(options["run"])
    if options["out"]:
        place_for(options["out"], "out")
    if options["measured"]:
        from wsn.cost_models.onnx_set import read_measured

        return _save(read_measured(Path(options["measured"]), options["name"]), options, options["name"])
    from wsn.cost_models.table import parts_of_space
    from wsn.run.run import Run

    net = Run(options["run"]).net
    parts = parts_of_space(net)
    return (_export if options["export"] else _measure)(net, parts, options)


def _export(net: Any, parts: list, options: dict[str, Any]) -> Path:
    from wsn.cost_models.onnx_set import write_onnx_set
    from wsn.logging.progress import progress_bar

    with progress_bar(len(parts), "Writing blocks as ONNX") as advance:
        folder = write_onnx_set(net, parts, Path(options["export"]), options["batch"], advance)
    print(f"Written: {len(parts)} blocks in {folder}. On the device: python measure.py. Then here:")
    print(f"wsn latency-table run={options['run']} measured={folder}/measured.csv name=my-device")
    return folder


def _measure(net: Any, parts: list, options: dict[str, Any]) -> Path:
    from wsn.cost_models.latency import Latency
    from wsn.cost_models.runtimes import Device
    from wsn.cost_models.table import LatencyTable
    from wsn.logging.progress import progress_bar

    device = Device(options["device"], options["threads"], options["runtime"], options["channels_last"])
    table, batch = LatencyTable(), options["batch"]
    with progress_bar(len(parts), f"Measuring blocks ({device.runtime}, {device.device})") as advance:
        table.measure(net, device, batch, parts, options["min_seconds"], advance)
    rng = Random(0)
    subnets = [net.space.sample(rng, (i + 0.5) / options["check"]) for i in range(options["check"])]
    if len(subnets) > 1:
        whole = Latency(device.device, device.runtime, device.threads, batch, 1, device.channels_last)
        check = table.compare(net, subnets, whole)
        print(
            f"{len(parts)} blocks. Sums against {len(subnets)} whole networks: mean error {check['mean_error']:.1%}, "
            f"largest {check['max_error']:.1%}, ratio {check['bias']:.2f}, Kendall tau {check['kendall_tau']:.2f}. "
            f"A second measurement of the same networks differs by {check['noise']:.1%}"
        )
    return _save(table, options, f"{device.device}_{device.runtime}")


def _save(table: Any, options: dict[str, Any], name: str) -> Path:
    path = Path(options["out"] or Path(options["run"]) / f"latency_{name}.json")
    table.save(path)
    print(f"Written: {path}")
    print(f"Use it: wsn search run={options['run']} cost=latency_table cost.latency_ms.path={path}")
    return path
