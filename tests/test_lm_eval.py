"""lm-eval on a subnet, with a task made on the spot."""

import json

import pytest
import torch

import wsn
from wsn.run.lm_eval import TaskAccuracy, evaluate_tasks

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


@pytest.mark.slow
def test_a_local_task(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "to": 1, "be": 2, "or": 3, "not": 4}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[UNK]")
    rows = [{"question": "or not", "label": i % 2} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    (tmp_path / "task.yaml").write_text(TASK % (tmp_path / "rows.jsonl"))
    torch.manual_seed(0)
    net = wsn.create_supernet("llama", vocab_size=5, num_layers=2, hidden_size=16, num_heads=2, ffn_size=16)
    for subnet in (net.space.max(), net.space.min()):
        results = evaluate_tasks(net.extract(subnet), tokenizer, ["wsn_local"], include=str(tmp_path))
        assert results["wsn_local"]["acc,none"] == 0.5  # the same question, alternating answers
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    measure = TaskAccuracy(str(tmp_path / "tokenizer"), ["wsn_local"], include=str(tmp_path), limit=4)
    assert measure(net, [net.space.max(), net.space.min()]) == [0.5, 0.5]
    with pytest.raises(wsn.WsnError, match="no task"):
        evaluate_tasks(net.extract(subnet), tokenizer, ["no_such_task"])
