"""Tables, Markdown and CSV of small comparisons worked out by hand, and the command line."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts import without_torch
from helpers.synthetic import config_of, make_panel, row_of, write_run

from wsn.comparison.files import markdown
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison
from wsn.comparison.tables import config_table, correlation_table, gap_table, p_text, pair_table, per_method, verdict
from wsn.files import read_csv, write_csv
from wsn.run.cli import main
from wsn.run.compare import compare

ROOT = Path(__file__).parents[2]
KINDS = ("smallest", "middle", "largest")
MACS = {"smallest": 1, "middle": 2, "largest": 4}
ARCHS = dict(make_panel(3))


def make_run(folder, method, seed, accuracies, **config):
    """Write a run of subnets with 1, 2 and 4 million MACs."""
    kinds = KINDS if method != "plain" else ["alone"] * 3
    rows = [
        row_of(kind, ARCHS[name], "test", {"acc": acc, "acc5": 1, "loss": 1})
        | {"macs": MACS[name] * 10**6, "id": f"id{MACS[name]}"}
        for kind, (name, acc) in zip(kinds, zip(KINDS, accuracies))
        if acc is not None
    ]
    write_run(folder, config_of(method, seed, folder, **config), rows, gmacs=100.0 + seed)


@pytest.fixture
def sweep(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, [0.60, 0.70, 0.80])
    make_run(tmp_path / "b", "ofa", 1, [0.62, 0.72, 0.82])
    make_run(tmp_path / "c", "ofa", 0, [0.50, 0.60, 0.90], tags=["no ramp"])
    make_run(tmp_path / "d", "plain", 0, [0.65, None, None])
    make_run(tmp_path / "e", "plain", 1, [0.67, None, None])
    return tmp_path


def comparison_of(folder):
    return Comparison(*find_runs([folder]))


# Hypervolume of a: (60 * 1 + 70 * 2) / 4 = 50, of b 51.5, of c 42.5. The smallest alone: 66.
GOLDEN = """\
| method | seeds | hypervolume | smallest | middle | largest | front mean | gap of smallest to alone | break-even | GMACs spent | minutes |
|---|---|---|---|---|---|---|---|---|---|---|
| `ofa` | 2 | 50.75 ± 1.06 | 61.0 ± 1.4 | 71.0 ± 1.4 | 81.0 ± 1.4 | 71.0 ± 1.4 | -5.0 ± 0.0 | 1.0 | 100 | 1.5 |
| `ofa+no ramp` | 1 | 42.50 | 50.0 | 60.0 | 90.0 | 66.7 | -15.0 | 1.0 | 100 | 1.5 |

Hypervolume: percent of the area that a front can dominate, i.e. the mean top-1 accuracy over all budgets. \
Reference point of all runs: 4.00 M MACs, 0 %.
No test of all methods together: it needs three or more. Mann–Whitney U, Holm-corrected over 1 pair: no pair differs at \
p < 0.05. With 2 against 1 seeds p cannot be below 0.67, nor below 0.67 after the correction.

**Gap to training alone.** Top-1 accuracy less that of the same subnet trained alone, paired over seeds; mean ± half of \
the 95 % confidence interval. First row: alone, mean ± standard deviation.

| method | smallest |
|---|---|
| trained alone | 66.0 ± 1.4 |
| `ofa` | -5.0 ± 0.0 |
| `ofa+no ramp` | -15.0 |

**Break-even.** From how many deployed sizes on one supernet costs less than training each alone to the same quality.

| method | GMACs of the supernet | GMACs of a size alone | break-even | note |
|---|---|---|---|---|
| `ofa` | 100 | 100 | 1.0 |  |
| `ofa+no ramp` | 100 | 100 | 1.0 |  |

**Rank agreement and stability.** With subnets trained alone, between seeds, and over the last epochs; mean ± standard \
deviation.

| method | subnets | Kendall τ-b | sparse τ | Spearman ρ | top-5 rank | P(surpass random) | τ between seeds | τ over last epochs |
|---|---|---|---|---|---|---|---|---|
| `ofa` | 1 | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | 1.00 | – |
| `ofa+no ramp` | 1 | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | needs ≥ 3 subnets | – | – |
"""  # noqa: E501


def test_markdown(sweep):
    assert markdown(comparison_of(sweep)) == GOLDEN


def test_all_files_are_written_and_agree(sweep, capsys):
    assert main(["compare", f"runs={sweep}", f"out={sweep / 'out'}"]) == 0
    out = sweep / "out"
    assert (out / "comparison.md").read_text() == GOLDEN
    assert capsys.readouterr().out.startswith(GOLDEN)
    runs = {Path(r["run"]).name: r for r in read_csv(out / "comparison.csv")}
    assert runs["a"]["hypervolume"] == pytest.approx(50)
    assert (runs["a"]["front"], runs["a"]["largest"]) == (pytest.approx(70), pytest.approx(80))
    assert runs["d"]["hypervolume"] is None
    subnets = read_csv(out / "comparison_subnets.csv")
    assert len(subnets) == 3 * 3 + 2
    assert subnets[0]["top-1_accuracy"] == pytest.approx(60)
    assert all(row["on_front"] for row in subnets)
    assert (out / "comparison.png").stat().st_size > 20_000
    assert (out / "report.html").stat().st_size > 1_000_000


def test_a_run_folder_keeps_its_own_files(sweep):
    before = (sweep / "a" / "subnets.csv").read_bytes()
    compare([sweep / "a"], sweep / "a")
    assert (sweep / "a" / "subnets.csv").read_bytes() == before
    compare([sweep / "a"], sweep / "a")  # and what was written is no obstacle


def test_the_reference_point_is_shared(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, [0.6, 0.7, 0.8])
    make_run(tmp_path / "b", "us_net", 0, [0.6, 0.7, None])
    comparison = comparison_of(tmp_path)
    assert comparison.largest == 4e6
    # Equal where the largest subnet adds nothing, although us_net's own largest has 2 M.
    assert comparison.hypervolumes == {"ofa": [pytest.approx(50)], "us_net": [pytest.approx(50)]}


def test_gaps_and_rank_correlation(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, [0.60, 0.70, 0.80])
    make_run(tmp_path / "b", "ofa", 1, [0.70, 0.60, 0.80])
    make_run(tmp_path / "c", "bignas", 0, [0.75, 0.75, None])
    make_run(tmp_path / "d", "plain", 0, [0.65, 0.70, 0.75])
    comparison = comparison_of(tmp_path)
    table = gap_table(comparison)
    assert [title for title, _ in table.heads] == ["method", *KINDS]
    cells = {row[0].text: [(cell.text, cell.tone) for cell in row[1:]] for row in table.rows}
    assert cells["trained alone"] == [("65.0", ""), ("70.0", ""), ("75.0", "")]
    half = 12.7062 * math.sqrt(50) / math.sqrt(2)  # Student's t of one degree of freedom, deviation of ±5
    assert cells["ofa"] == [(f"+0.0 ± {half:.1f}", "bad"), (f"-5.0 ± {half:.1f}", "bad"), ("+5.0 ± 0.0", "good")]
    assert cells["bignas"] == [("+10.0", "good"), ("+5.0", "good"), ("–", "")]
    ranks = {row[0].text: [cell.text for cell in row[1:]] for row in correlation_table(comparison).rows}
    # τ 1 and 1/3, ρ 1 and 1/2; of three the best is always among the first five; τ between the seeds 1/3
    assert ranks["ofa"] == [
        "3", "+0.67 ± 0.47", "+0.67 ± 0.47", "+0.75 ± 0.35", "1.0 ± 0.0", "1.00 ± 0.00", "0.33", "–",
    ]  # fmt: skip
    assert ranks["bignas"] == ["2", *["needs ≥ 3 subnets"] * 5, "–", "–"]
    assert ranks["MACs alone"] == ["3", "+1.00", "+1.00", "+1.00", "1.0", "1.00", "–", "–"]


def test_alone_is_paired_by_seed_and_takes_the_best_of_the_longest(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, [0.60, 0.70, 0.80])
    make_run(tmp_path / "b", "ofa", 1, [0.64, 0.70, 0.80])
    for seed, smallest in enumerate([0.70, 0.72]):
        make_run(tmp_path / f"slow{seed}", "plain", seed, [smallest - 0.1, None, None], tags=["rate 0.01"])
        make_run(tmp_path / f"good{seed}", "plain", seed, [smallest, None, None], tags=["rate 0.1"])
    make_run(tmp_path / "short", "plain", 0, [0.60, None, None], tags=["short"])
    path = tmp_path / "short" / "metrics.csv"
    path.write_text("step,train/gmacs_spent\n9,25\n")
    comparison = comparison_of(tmp_path)
    (key,) = comparison.alone
    assert comparison.alone[key].values == (70.0, 72.0)
    assert comparison.gaps("ofa")[key] == pytest.approx([-10, -8])
    # The curve: 60 after 25 GMACs, 71 after 100.5; the supernet's mean, 62, is reached at 25 · (100.5 / 25)^(2 / 11)
    found = comparison.break_even("ofa")
    assert found.alone == pytest.approx(25 * (100.5 / 25) ** (2 / 11))
    assert found.sizes == pytest.approx(100.5 / found.alone)
    assert found.reached


def test_rankings_move_between_epochs(tmp_path):
    make_run(tmp_path / "a", "ofa", 0, [0.60, 0.70, 0.80])
    make_run(tmp_path / "d", "plain", 0, [0.65, 0.70, 0.75])
    path = tmp_path / "a" / "subnets.csv"
    rows = read_csv(path)
    held_out = [
        {**row, "split": "val", "epoch": epoch, "acc": acc}
        for epoch, order in ((1, [0.1, 0.2, 0.3]), (2, [0.2, 0.1, 0.3]))
        for row, acc in zip(rows, order)
    ]
    write_csv(path, held_out + rows)
    comparison = comparison_of(tmp_path)
    assert comparison.epoch_ranks("ofa") == [pytest.approx([1, 1 / 3])]
    cells = {row[0].text: row[-1].text for row in correlation_table(comparison).rows}
    assert cells["ofa"] == "+0.67 ± 0.47"


def test_small_is_good_for_language_models(tmp_path):
    for method, bits in (("soft", [3.0, 2.5, 2.0]), ("matformer", [4.0, 3.0, 2.5]), ("plain", [2.8, 2.6, 2.2])):
        make_run(tmp_path / method, method, 0, [0.1, 0.2, 0.3])
        path = tmp_path / method / "subnets.csv"
        lines = path.read_text().splitlines()
        lines = [lines[0] + ",bits_per_byte", *(f"{line},{b}" for line, b in zip(lines[1:], bits))]
        path.write_text("\n".join(lines))
    comparison = comparison_of(tmp_path)
    assert list(comparison.groups) == ["soft", "matformer"]
    # Saved of 8 bits: 5 from 1 to 2 M, 5.5 from 2 to 4 M.
    assert comparison.hypervolumes["soft"] == [pytest.approx(100 * (5 + 2 * 5.5) / 32)]
    assert comparison.front(comparison.groups["soft"][0]) == [0, 1, 2]
    assert [cell.tone for cell in gap_table(comparison).rows[1][1:]] == ["bad", "good", "good"]
    assert "share of 8 bits per byte that is saved" in markdown(comparison)
    assert "| `soft` | 1 | 50.00 | 3.00 | 2.50 | 2.00 |" in markdown(comparison)


def test_identical_fronts_and_one_run(tmp_path):
    for seed in range(2):
        for method in ("ofa", "bignas", "spos"):
            make_run(tmp_path / f"{method}{seed}", method, seed, [0.6, 0.7, 0.8])
    comparison = comparison_of(tmp_path)
    assert verdict(comparison)[0] == "No test: all values are equal."
    assert [cell.text for cell in pair_table(comparison).rows[0][1:]] == ["", "+0.00", "+0.00"]
    single = comparison_of(tmp_path / "ofa0")
    assert len(verdict(single)) == 1
    assert per_method(single).rows[0][2].text == "50.00"
    assert config_table(single).rows == []


def test_pairs_and_verdict_of_five_seeds(tmp_path):
    for m, method in enumerate(("ofa", "bignas", "spos")):
        for seed in range(5):
            level = 0.8 - 0.1 * m + 0.001 * seed
            make_run(tmp_path / f"{method}{seed}", method, seed, [level, level, level])
    comparison = comparison_of(tmp_path)
    text = verdict(comparison)
    assert text[0] == "Friedman test of 3 methods over 5 shared seeds: χ² = 10.00, p = 0.0067 (χ² approximation)."
    assert "3 of 3 pairs differ at p < 0.05" in text[1]
    assert "below 0.0079, nor below 0.024 after" in text[2]
    cell = pair_table(comparison).rows[2][1]
    assert (cell.text, cell.tone) == ("-1.00*", "bad")
    heads = [title for title, _ in per_method(comparison).heads]
    assert [row[heads.index("mean rank")].text for row in per_method(comparison).rows] == ["1.00", "2.00", "3.00"]


def test_p_values_are_printed_as_papers_do():
    assert [p_text(p) for p in (0.1, 0.0123, 0.0004, 1.0)] == ["0.1", "0.012", "< 0.001", "1"]


def test_mistakes_on_the_command_line(tmp_path):
    done = without_torch("compare.py", str(tmp_path / "nope"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: The folder")
    assert "Traceback" not in done.stderr


def test_what_is_left_out_is_said_on_stderr(sweep, capsys):
    (sweep / "unfinished").mkdir()
    (sweep / "unfinished" / "config.yaml").write_text((sweep / "a" / "config.yaml").read_text())
    compare([sweep], sweep / "out")
    assert capsys.readouterr().err == f"left out: {sweep / 'unfinished'}: unfinished: it has no subnets.csv\n"
    assert "1 left out" in (sweep / "out" / "report.html").read_text()


def test_the_report_of_wandb_has_the_tables_that_its_panels_cannot_compute(sweep):
    pytest.importorskip("wandb_workspaces")
    done = subprocess.run(
        [sys.executable, "sweeps/report.py", "--entity", "me", "--dry-run", "--runs", str(sweep)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    blocks = json.loads(done.stdout)["report"]["spec"]["blocks"]
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert len(texts) == 4
    assert "| `ofa` | -5.0 ± 0.0 |" in texts[1]
    assert "| `ofa` | 100 | 100 | 1.0 |  |" in texts[2]
