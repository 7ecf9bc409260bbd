"""From a trained supernet to products: search, export, fine-tuning, latency tables and serving, on one small run."""

import json
import re
import shlex
import subprocess
import sys
import threading
import time

import onnxruntime
import pytest
import torch
from helpers.documents import block
from helpers.scripts import PHASES, ROOT, SMALL, command, start, the_run, without_torch

import wsn
from wsn import WsnError
from wsn.config import compose
from wsn.evaluation.pareto import Front
from wsn.files import read_csv
from wsn.run.cli import main as wsn_main
from wsn.run.evaluator import Evaluator
from wsn.run.export import export_run
from wsn.run.known import known_rows
from wsn.run.run import open_run
from wsn.run.search import search_run

pytestmark = pytest.mark.xdist_group("product")  # one process makes the run that all tests share


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, searched by random choice."""
    out = tmp_path_factory.mktemp("product")
    command("train.py", "method=spos", "method.phases.0.epochs=1", *SMALL, out=out)
    folder = the_run(out)
    search(folder, "search=random", "evaluations=8", "group=4", "name=first")
    return folder


def search(run, *overrides):
    return search_run(compose("conf", [f"run={run}", *overrides], "search"))


def export(run, *overrides):
    return export_run(compose("conf", [f"run={run}", "split=val", *overrides], "export"))


@pytest.fixture(scope="module")
def front(run):
    return export(run, "subnet=front", "format=elastic", "search_name=first") / "elastic"


# -- search ---------------------------------------------------------------------------------------------------


def test_a_search_leaves_its_evaluations_and_front(run):
    folder = run / "search" / "first"
    rows = read_csv(folder / "evaluations.csv")
    assert len({r["id"] for r in rows}) == 8
    front = Front.from_json(folder / "front.json")
    assert {r["id"] for r in front} <= {r["id"] for r in rows}
    assert (folder / "front.png").stat().st_size > 10_000
    net = open_run(run).net
    for r in rows:
        assert r["macs"] == wsn.cost(net, net.space.find(r["arch"])).macs


def test_the_same_command_goes_on(run):
    first = read_csv(run / "search" / "first" / "evaluations.csv")
    search(run, "search=random", "evaluations=11", "group=4", "name=first")
    rows = read_csv(run / "search" / "first" / "evaluations.csv")
    assert rows[:8] == first
    assert len({r["id"] for r in rows}) == 11


def test_rows_are_those_of_one_by_one(run):
    evaluator = Evaluator(open_run(run), "val")
    rows = read_csv(run / "search" / "first" / "evaluations.csv")[:3]
    for r in rows:
        (alone,) = evaluator.rows([evaluator.net.space.find(r["arch"])])
        assert (alone["acc"], alone["loss"]) == (r["acc"], r["loss"])


def test_a_killed_search_loses_nothing_and_repeats_nothing(run):
    overrides = [f"run={run}", "search=nsga2", "search.population=6", "evaluations=12", "group=2", "name=killed"]
    path = run / "search" / "killed" / "evaluations.csv"
    process = start("search.py", *overrides, out=run)
    until = time.time() + 120
    while not (path.exists() and len(path.read_text().splitlines()) > 4) and time.time() < until:
        time.sleep(0.02)
    process.kill()
    process.join()
    kept = [line for line in path.read_text().splitlines() if line]
    with open(path, "a") as file:
        file.write("0123,search,va")  # what a kill may leave of a row
    command("search.py", *overrides, out=run)
    lines = path.read_text().splitlines()
    assert lines[: len(kept)] == kept
    ids = [r["id"] for r in read_csv(path)]
    assert len(ids) == len(set(ids)) == 12
    whole = search(run, *overrides[1:-1], "name=whole")
    rows = read_csv(run / "search" / "whole" / "evaluations.csv")
    assert {r["id"]: r["acc"] for r in rows} == {r["id"]: r["acc"] for r in read_csv(path)}
    assert len(whole)


@pytest.mark.slow
def test_processes_come_to_the_same_rows(run):
    options = ["search=random", "evaluations=4", "group=2"]
    search(run, *options, "name=alone")
    search(run, *options, "name=together", "workers=2")
    alone, together = (read_csv(run / "search" / name / "evaluations.csv") for name in ("alone", "together"))
    assert {r["id"]: r["macs"] for r in alone} == {r["id"]: r["macs"] for r in together}
    for r in together:  # other numbers of threads may round differently
        assert r["loss"] == pytest.approx(next(a["loss"] for a in alone if a["id"] == r["id"]), rel=1e-3)


def test_measured_latencies_are_kept_for_the_next_time(run):
    options = [
        "search=random",
        "evaluations=2",
        "cost=[macs,latency]",
        "cost.latency_ms.min_seconds=0.001",
        "name=timed",
    ]
    search(run, *options, "constraints='latency_ms<=1e9'", "objectives={latency_ms: min, acc: max}")
    kept = read_csv(run / "search" / "timed" / "latency_ms.csv")
    assert "threads" in json.loads((run / "search" / "timed" / "latency_ms.json").read_text())
    rows = read_csv(run / "search" / "timed" / "evaluations.csv")
    assert {r["latency_ms"] for r in rows} <= {r["value"] for r in kept}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["constraints='macs<=1'"], "no subnet with macs<=1: the smallest has macs"),
        (["constraints='speed<=1'"], "unknown 'speed'"),
        (["objectives=[macs,beauty]"], "unknown 'beauty'"),
        (["split=train"], "val or test"),
        (["+data.rooot=1"], "data.rooot"),
        (["cost=kv_cache"], "language models"),
        (["constraints='acc>=2'", "evaluations=2", "search=random", "name=none"], "None of the 2 evaluated"),
    ],
)
def test_mistakes_in_a_search_are_one_clear_error(run, overrides, words):
    with pytest.raises(WsnError, match=re.escape(words)):
        search(run, *overrides)


@pytest.mark.parametrize(
    ("script", "overrides", "words"),
    [
        ("search.py", ["run=outputs/nope"], "does not exist"),
        ("search.py", ["run=conf"], "not a run folder"),
        ("search.py", ["search=magic", "run=x"], "nsga2"),
        ("search.py", [], "run=..."),
        ("search.py", ["run={run}", "constraints=macs"], "key<=number"),
        ("export.py", ["run={run}"], "subnet=..."),
        ("export.py", ["run=outputs/nope", "subnet=best"], "does not exist"),
        ("export.py", ["run={run}", "subnet=best@macs"], "key<=number"),
        ("train.py", ["method=finetune"], "run="),
        ("train.py", ["method=finetune", "run=outputs/nope"], "does not exist"),
        ("train.py", ["method=finetune", "run={run}", "backbone=resnet50"], "leave it out"),
    ],
)
def test_mistakes_answer_before_torch_is_loaded(run, script, overrides, words):
    done = without_torch(script, *(o.format(run=run) for o in overrides))
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


# -- export ---------------------------------------------------------------------------------------------------


def test_a_front_is_exported_with_an_index_and_a_card(run):
    folder = export(run, "subnet=front", "format=[module,elastic]", "search_name=first")
    index = json.loads((folder / "index.json").read_text())
    assert [e["format"] for e in index["exports"]] == ["module"] * len(index["subnets"]) + ["elastic"]
    for e in index["exports"]:
        assert (folder / e["path"]).exists()
        if e["format"] == "elastic":
            continue
        assert e["measured"] == pytest.approx(e["supernet"], abs=0.026)  # one image of 40
    card = (folder / "README.md").read_text()
    assert "| subnet | MACs (M) | params (M) | MB | latency (ms) | top-1 accuracy (%), val |" in card
    assert all(r["id"] in card for r in index["subnets"])


@pytest.mark.parametrize(
    ("spec", "which"),
    [
        ("smallest", lambda rows: None),
        ("'best@macs<={middle}'", lambda rows: None),
        ("{id}", lambda rows: rows[0]["id"]),
        ("'{{resolution: 24}}'", lambda rows: None),
    ],
)
def test_subnets_are_named_in_several_ways(run, spec, which):
    rows = known_rows(run, "first")
    middle = sorted(r["macs"] for r in rows)[len(rows) // 2]
    spec = spec.format(middle=middle, id=rows[0]["id"]).strip("'" if spec.startswith("'{{") else "")
    folder = export(run, f"subnet={spec}", "search_name=first")
    (exported,) = json.loads((folder / "index.json").read_text())["subnets"]
    assert which(rows) in (None, exported["id"])
    if "best" in spec:
        best = max((r for r in rows if r["macs"] <= middle), key=lambda r: r["acc"])
        assert exported["id"] == best["id"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["subnet='best@macs<=1e3'"], "no subnet has macs<=1000; the smallest has macs"),
        (["subnet='best@speed<=1'"], "have no speed"),
        (["subnet=0123456789"], "not the id of an evaluated subnet"),
        (["subnet=best", "format=tflite"], "module, onnx, program, int8, huggingface, elastic"),
        (["subnet=best", "search_name=nope"], "has no search 'nope'"),
        (["subnet=smallest", "format=huggingface"], "language models"),
    ],
)
def test_mistakes_in_an_export_are_one_clear_error(run, overrides, words):
    with pytest.raises(WsnError, match=re.escape(words)):
        export(run, *overrides)


def test_fine_tuning_starts_from_the_supernets_weights(run, tmp_path):
    shared = [s for s in SMALL if not s.startswith(("backbone", "data"))]
    start = ["method=finetune", f"run={run}", "subnet=smallest", "method.phases.0.epochs=1"]
    command("train.py", *start, *shared, "optim.weight_decay=0", "method.phases.0.lr=1e-12", out=tmp_path)
    tuned = open_run(the_run(tmp_path)).net
    net = open_run(run).net
    expected = net.extract(net.space.min()).state_dict()
    found = tuned.model.state_dict()
    assert expected.keys() == found.keys()
    for key, value in expected.items():  # with next to no learning rate they are those of the supernet
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(found[key], value)


# -- latency tables -----------------------------------------------------------------------------------------


def test_a_latency_table_from_the_command_line_serves_a_search(run, tmp_path, capsys):
    table = tmp_path / "table.json"
    assert wsn_main(["latency-table", f"run={run}", "min_seconds=0.001", "check=2", f"out={table}"]) == 0
    assert "mean error" in capsys.readouterr().out
    options = ["cost=latency_table", f"cost.latency_ms.path={table}", "search=random", "evaluations=2", "name=table"]
    assert len(search(run, *options))
    for arguments, words in [
        (["run=outputs/nope"], "does not exist"),
        ([f"run={run}", "speed=1"], "Unknown option 'speed'"),
        (["device=cpu"], "run has no value"),
        ([f"run={run}", "device=tpu"], "device=tpu is unknown. Allowed: cpu, cuda"),
    ]:
        assert wsn_main(["latency-table", *arguments]) == 1
        assert words in capsys.readouterr().err


# -- serving --------------------------------------------------------------------------------------------------


def test_members_predict_what_the_supernet_does_with_stored_statistics(run, front):
    predictor = wsn.ElasticPredictor(front)
    evaluator = Evaluator(open_run(run), "val")
    rows = {r["id"]: r for r in json.loads((front / "elastic.json").read_text())["members"]}
    for member in predictor.members:
        metrics = evaluator.data.metrics()
        for images, labels in evaluator.batches():
            metrics.update(predictor.run(images, member), labels)
        assert metrics.results()["acc"] == pytest.approx(rows[member.id]["acc"], abs=1e-6)


def test_members_are_views_of_one_copy(front):
    predictor = wsn.ElasticPredictor(front)
    alone = sum(t.numel() * t.element_size() for t in predictor.net.state_dict().values())
    assert predictor.memory_bytes() < 1.4 * alone  # each with statistics and shrunk kernels of its own
    storages = [{p.untyped_storage().data_ptr() for p in m.view.parameters()} for m in predictor.members]
    shared = {p.untyped_storage().data_ptr() for p in predictor.net.parameters()}
    assert all(len(s & shared) > 0.5 * len(s) for s in storages)


def test_members_are_picked_by_budget_and_quality(front):
    predictor = wsn.ElasticPredictor(front)
    small, large = predictor.members[0], predictor.members[-1]
    assert predictor.member is large
    assert predictor.pick(f"macs<={small.macs}") is small
    assert predictor.pick(quality=0.0) is small
    assert predictor.switch(member=small.id) is small is predictor.member
    assert predictor.switch() is large
    assert wsn.ElasticPredictor(front, budget=f"macs<={small.macs}").member.id == small.id
    for bad, words in (("macs<=1", "no subnet has macs<=1; the smallest has"), ("joules<=1", "have no joules")):
        with pytest.raises(WsnError, match=words):
            predictor.pick(bad)
    with pytest.raises(WsnError, match="No member"):
        predictor.find("x")


def test_under_load_a_cheaper_member_keeps_the_budget(front):
    predictor = wsn.ElasticPredictor(front, adaptive=True)
    slow = max(m.latency_ms for m in predictor.members)
    assert predictor.pick(10 * slow) is predictor.members[-1]
    for _ in range(100):  # requests that take eight times as long as on an idle machine
        predictor._observe(predictor.members[0], 8 * predictor.members[0].latency_ms, 1)
    assert predictor.load == pytest.approx(8, rel=0.01)
    within = predictor.pick(8.5 * min(m.latency_ms for m in predictor.members))
    assert within.latency_ms * 8 <= 8.5 * min(m.latency_ms for m in predictor.members)


def test_threads_and_switches_do_not_disturb_each_other(front):
    predictor = wsn.ElasticPredictor(front)
    x = torch.randn(4, 1, 28, 28)
    truth = {m.id: predictor.run(x, m) for m in predictor.members}
    wrong, done = [], threading.Event()

    def ask(member):
        for _ in range(20):
            if not torch.allclose(predictor.run(x, member), truth[member.id], atol=1e-5):
                wrong.append(member.id)

    def switch():
        while not done.is_set():
            for member in predictor.members:
                predictor.switch(member=member.id)

    switcher = threading.Thread(target=switch)
    askers = [threading.Thread(target=ask, args=(m,)) for m in predictor.members]
    for thread in (switcher, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    done.set()
    switcher.join()
    assert not wrong


def test_corrupt_or_missing_fronts_are_one_error(front, tmp_path):
    with pytest.raises(WsnError, match="format=elastic"):
        wsn.ElasticPredictor(tmp_path)
    import shutil

    shutil.copytree(front, tmp_path / "front")
    (tmp_path / "front" / "weights.safetensors").write_bytes(b"abc")
    with pytest.raises(WsnError, match="corrupt"):
        wsn.ElasticPredictor(tmp_path / "front")


def test_the_server_answers_under_load_while_it_switches(front):
    sys.path.insert(0, str(ROOT / "examples"))
    from fastapi.testclient import TestClient
    from serve import make_app

    predictor = wsn.ElasticPredictor(front)
    client = TestClient(make_app(predictor))
    x = torch.randn(1, 1, 28, 28)
    truth = {m.id: predictor.run(x, m)[0] for m in predictor.members}
    small = predictor.members[0]
    wrong, times = [], []

    def ask(budget):
        for _ in range(5):
            start = time.perf_counter()
            answer = client.post("/predict", json={"inputs": x.tolist(), "budget": budget})
            times.append(time.perf_counter() - start)
            found = answer.json()
            if answer.status_code != 200 or not torch.allclose(
                torch.tensor(found["logits"][0]), truth[found["member"]], atol=1e-5
            ):
                wrong.append(found)
            if budget and found["member"] != small.id:
                wrong.append(found)

    askers = [threading.Thread(target=ask, args=(b,)) for b in (None, f"macs<={small.macs}") * 3]
    for thread in askers:
        thread.start()
    for member in predictor.members * 5:
        client.post("/switch", json={"member": member.id})
    for thread in askers:
        thread.join()
    assert not wrong
    assert len(times) == 30
    text = client.get("/metrics").text
    counted = [float(v) for v in re.findall(r'wsn_requests_total\{subnet="\w+"\} ([\d.]+)', text)]
    assert sum(counted) == 30
    assert {m["id"] for m in client.get("/members").json()} == {m.id for m in predictor.members}
    refused = client.post("/predict", json={"inputs": x.tolist(), "budget": "macs<=1"})
    assert refused.status_code == 422
    assert "the smallest has" in refused.json()["detail"]
    assert client.post("/predict", json={"inputs": [[1.0]]}).status_code == 422


# -- README ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_readmes_four_commands(tmp_path):
    """Train, search under two budgets, export, run in ONNX Runtime; the first two at a small size."""
    run = tmp_path / "first"
    small = [s for s in [*SMALL, *PHASES] if "output_dir" not in s]
    for line in block("four commands", "bash").strip().splitlines():
        script, *rest = shlex.split(line.replace("outputs/first", str(run)))[1:]
        if script == "-c":
            done = subprocess.run([sys.executable, "-c", *rest], capture_output=True, text=True, check=True)
            assert re.fullmatch(r"\[\d \d \d\]\n", done.stdout)
            continue
        more = {"train.py": small, "search.py": ["evaluations=3", "search=random", "cost.latency_ms.min_seconds=0.001"]}
        rest = [r.replace("latency_ms<=50", "latency_ms<=5000") for r in rest]  # a machine that does other things
        command(script, *rest, *more.get(script, []), out=tmp_path)
    session = onnxruntime.InferenceSession(run / "phone" / "onnx" / "model.onnx")
    assert session.get_inputs()[0].shape[1:] in ([1, 24, 24], [1, 32, 32])
