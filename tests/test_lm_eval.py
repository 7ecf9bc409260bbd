"""lm-eval on a subnet, with a task made on the spot."""

import json

import pytest
import torch
from helpers.configs import CONF

import wsn
from wsn.backbones.hugging_face import load_tokenizer
from wsn.config import compose
from wsn.files import read_csv
from wsn.run.cli import main
from wsn.run.lm_eval import TaskAccuracy, evaluate_tasks
from wsn.run.run import open_run
from wsn.run.train import train

pytest.importorskip("lm_eval", reason="needs wsn[lm-eval]")

TASK = """
task: wsn_local
dataset_path: json
dataset_kwargs: { data_files: { test: %s } }
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: ["to", "be"]
doc_to_target: label
metric_list: [{ metric: acc }]
"""


@pytest.fixture
def task(tmp_path):
    """A folder with a task and a tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "to": 1, "be": 2, "or": 3, "not": 4}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[UNK]")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = [{"question": "or not", "label": i % 2} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    (tmp_path / "task.yaml").write_text(TASK % (tmp_path / "rows.jsonl"))
    return tmp_path


@pytest.mark.slow
def test_a_local_task(task):
    torch.manual_seed(0)
    net = wsn.create_supernet("llama", vocab_size=5, num_layers=2, hidden_size=16, num_heads=2, ffn_size=16)
    tokenizer = load_tokenizer(task / "tokenizer")
    for subnet in (net.space.max(), net.space.min()):
        results = evaluate_tasks(net.extract(subnet), tokenizer, ["wsn_local"], include=str(task))
        assert results["wsn_local"]["acc,none"] == 0.5  # the same question, alternating answers
    measure = TaskAccuracy(str(task / "tokenizer"), ["wsn_local"], include=str(task), limit=4)
    assert measure(net, [net.space.max(), net.space.min()]) == [0.5, 0.5]
    with pytest.raises(wsn.WsnError, match="no task"):
        evaluate_tasks(net.extract(subnet), tokenizer, ["no_such_task"])


@pytest.mark.slow
def test_subnets_of_a_run(task, capsys):
    run = str(task / "run")
    small = ["num_layers=2", "hidden_size=16", "num_heads=2", "ffn_size=16"]
    data = [f"tokenizer={task}/tokenizer", "vocab_size=5", "images_per_epoch=16", "val_size=8", "sequence_length=16"]
    train(
        compose(
            CONF,
            ["method=bignas", "backbone=llama", "data=shakespeare", "method.phases.0.epochs=1", "evaluation.panel=0"]
            + [f"backbone.{o}" for o in small]
            + [f"data.{o}" for o in data]
            + [f"paths.run_dir={run}", "method.phases.0.warmup_epochs=0"],
        )
    )
    capsys.readouterr()
    assert main(["lm-eval", f"run={run}", "tasks=[wsn_local]", f"include={task}", "subnet=smallest"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    (row,) = read_csv(f"{run}/lm_eval.csv")
    assert printed["id"] == row["id"] == open_run(run).net.space.min().id
    assert printed["wsn_local/acc,none"] == row["wsn_local/acc,none"] == 0.5
    assert main(["lm-eval", run, "--tasks", "wsn_local", "--subnet", "none such"]) == 1
    assert "not the id of an evaluated subnet" in capsys.readouterr().err
