"""The CSV log and the result files."""

import io

import pytest
from rich.console import Console

from wsn.evaluation.pareto import Front
from wsn.files import read_csv
from wsn.logging.csv import CSVLogger
from wsn.logging.results import print_results, read_results, write_results


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


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_has_fewer_columns_and_whole_numbers(width):
    rows = [
        {"id": "c4896878c2", "kind": "smallest", "macs": 259728, "params": 106098, "acc": 0.8722, "acc5": 0.9969,
         "loss": 0.42, "split": "test", "on_front": True},
        {"id": "5e8cca307e", "kind": "largest", "macs": 1220000, "params": 327000, "acc": 0.8819, "acc5": 0.9977,
         "loss": 0.394, "split": "test"},
    ]  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    print_results(rows, console, {("c4896878c2", 259728): 0.8767})
    text = console.file.getvalue()
    assert "…" not in text
    assert all(word in text for word in ("c4896878c2", "87.22", "88.19", "0.26", "1.22", "★"))
    assert ("0.394" in text) == (width > 80)
