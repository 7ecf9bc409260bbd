"""The CSV log, the result files, and what W&B writes, read back offline."""

import json
import struct

import pytest
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console

from wsn.logging.csv import CSVLogger
from wsn.logging.results import print_results, read_results, write_results
from wsn.logging.wandb import COLUMNS, define_metrics, log_final, run_config
from wsn.pareto import Front, read_csv

IDENTITY = {"method": "ofa", "backbone": "mobilenet", "dataset": "fashion", "seed": 0}


def make_rows(split="test", step=9):
    kinds = ["smallest", "random", "random", "largest"]
    return [
        {
            "id": f"{i}e5",  # must not come back as a number
            "kind": kind,
            "split": split,
            "phase": "expand 2",
            "epoch": 3,
            "step": step,
            "macs": 10**6 * (i + 1),
            "params": 10**5 * (i + 1),
            "latency_ms": None,
            "acc": acc,
            "acc5": 0.9,
            "loss": 0.7,
            "arch": '{"depth":[2]}',
        }
        for i, (kind, acc) in enumerate(zip(kinds, [0.5, 0.7, 0.6, 0.8]))
    ]


def test_csv_survives_a_resume_and_new_columns(tmp_path):
    log = CSVLogger(tmp_path, flush_every=1)
    log.log_metrics({"loss": 1.0, "epoch": 0}, step=1)
    log.log_metrics({"acc": 0.5}, step=1)
    log.log_metrics({"loss": 0.5}, step=2)
    log.log_metrics({"loss": 0.4}, step=3)
    again = CSVLogger(tmp_path, flush_every=1)
    again.resume_from(2)
    again.log_metrics({"loss": 0.3, "lr": 0.1}, step=3)
    rows = read_csv(tmp_path / "metrics.csv")
    assert [r["step"] for r in rows] == [1, 2, 3]
    assert [r["loss"] for r in rows] == [1.0, 0.5, 0.3]
    assert rows[0]["acc"] == 0.5
    assert rows[2]["lr"] == 0.1
    assert rows[0]["lr"] is None
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    log = CSVLogger(tmp_path / "file" / "below", flush_every=1)
    with pytest.warns(UserWarning, match="Training goes on"):
        log.log_metrics({"loss": 1.0}, step=1)


def test_results_round_trip(tmp_path):
    rows = [*make_rows("val", 5), *make_rows("test", 9)]
    front = write_results(tmp_path, rows)
    assert [r["macs"] for r in front] == [10**6, 2 * 10**6, 4 * 10**6]
    back = read_results(tmp_path)
    assert back == rows
    assert [r["on_front"] for r in back] == [False] * 4 + [True, True, False, True]
    assert Front.from_json(tmp_path / "front.json").rows == front.rows
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"


def test_table(tmp_path):
    rows = make_rows()
    write_results(tmp_path, rows)
    console = Console(record=True, width=100, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    print_results(rows, console)
    text = console.export_text()
    assert "largest" in text
    assert "80.00" in text
    assert text.count("★") == 3


def wandb_records(folder):
    """Read the records of an offline run: LevelDB log frames of protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.rglob("*.wandb")
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4) and parts:  # full, last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    rows = make_rows()
    front = write_results(tmp_path, rows)
    logger = WandbLogger(project="wsn", save_dir=tmp_path, offline=True)
    logger.experiment.config.update(run_config({"seed": 0}, IDENTITY, {"space_size": 9.0}))
    define_metrics(logger.experiment, ["largest", "smallest"])
    log_final(logger, rows, front, IDENTITY, tmp_path)
    wandb.finish()

    tables = list(tmp_path.rglob("*.table.json"))
    table = json.loads(tables[0].read_text())
    assert table["columns"] == COLUMNS
    assert len(table["data"]) == 4
    assert [r[COLUMNS.index("on_front")] for r in table["data"]] == [True, True, False, True]
    assert len(list(tmp_path.rglob("media/images/**/*.png"))) == 1

    records = list(wandb_records(tmp_path))
    history = [
        {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    rows_of_front = [h for h in history if "front/gmacs" in h]
    assert [h["front/gmacs"] for h in rows_of_front] == pytest.approx([0.001, 0.002, 0.004])
    assert [h["front/acc"] for h in rows_of_front] == pytest.approx([0.5, 0.7, 0.8])
    metrics = [r.metric for r in records if r.WhichOneof("record_type") == "metric"]
    steps = {m.glob_name or m.name: m.step_metric for m in metrics}
    assert steps["front/*"] == "front/gmacs"
    config = {
        (u.key or "/".join(u.nested_key)): json.loads(u.value_json)
        for r in records
        if r.WhichOneof("record_type") in ("config", "run")
        for u in (r.config if r.HasField("config") else r.run.config).update
    }
    assert config["method_name"] == "ofa"
    assert config["cfg"] == {"seed": 0}
