"""Text: packing, padding, tokenizers, metrics."""

import math

import pytest
import torch

import wsn
from wsn.data.text import TextData
from wsn.evaluation.metrics import LanguageMetrics
from wsn.losses import IGNORED, counted, label_loss


def test_packed_sequences_follow_each_other(tmp_path):
    text = "".join(chr(97 + i % 26) for i in range(1000))
    (tmp_path / "a.txt").write_text(text)
    data = TextData(str(tmp_path / "a.txt"), sequence_length=10, val_size=5, batch_size=4, eval_batch_size=3)
    train, _, test = data.datasets()
    assert len(train) == 89  # (900 - 1) // 10
    stream = torch.cat([train[i][0] for i in range(len(train))])
    assert bytes(stream.tolist()).decode() == text[:890]
    inputs, labels = train[7]
    assert torch.equal(inputs[1:], labels[:-1])
    assert len(test) == 9
    batch = next(iter(data.train_dataloader()))
    assert batch[0].shape == batch[1].shape == (4, 10)
    assert data.calibration_batches() == []


def test_documents_are_padded_and_padding_counts_nowhere(tmp_path):
    (tmp_path / "a.txt").write_text("hello\n\nworld, world\n\nx\n\n" + "long " * 30)
    data = TextData(str(tmp_path), test_share=0.3, pack=False, sequence_length=8, val_size=1)
    train, _, _ = data.datasets()
    inputs, labels = train[0]
    assert bytes(inputs[:4].tolist()) == b"hell"
    assert bytes(labels[:4].tolist()) == b"ello"
    assert (labels[4:] == IGNORED).all()
    logits = torch.randn(2, 8, 256)
    both = torch.stack([labels, torch.full((8,), IGNORED)])
    flat, wanted = counted(logits, both)
    assert len(flat) == 4
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), both.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(label_loss(flat, wanted), expected)


def test_the_packaged_plays():
    data = TextData(sequence_length=128, val_size=100)
    data.setup()
    assert data.train_size > 7000
    inputs, _ = next(iter(data.test_dataloader()))
    assert bytes(inputs[0].tolist()).startswith(b"HAMLET, PRINCE OF DENMARK")


def test_another_text_tests_a_network_of_the_packaged_one(tmp_path):
    (tmp_path / "other.txt").write_text("abcd" * 100)
    train, _, test = TextData(test=str(tmp_path / "other.txt"), sequence_length=8, val_size=8).datasets()
    assert bytes(test[0][0].tolist()) == b"abcdabcd"
    assert len(train) == len(TextData(sequence_length=8, val_size=8).datasets()[0])


def test_metrics_against_counting_by_hand():
    torch.manual_seed(0)
    logits, labels = torch.randn(30, 7), torch.randint(0, 7, (30,))
    metrics = LanguageMetrics(bytes_per_token=2.5)
    metrics.update(logits[:10], labels[:10])
    metrics.update(logits[10:], labels[10:])
    result = metrics.results()
    nats = torch.nn.functional.cross_entropy(logits, labels).item()
    assert result["perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / 2.5, rel=1e-5)
    assert result["acc"] == pytest.approx((logits.argmax(-1) == labels).float().mean().item())


def test_hugging_face_tokenizers_and_data_sets(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    datasets = pytest.importorskip("datasets", reason="needs wsn[text]")
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "to": 1, "be": 2, "or": 3, "not": 4}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / "tokenizer")
    rows = datasets.Dataset.from_dict({"text": ["to be or not to be"] * 20})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "rows")
    data = TextData(
        str(tmp_path / "rows"), test="test", tokenizer=str(tmp_path / "tokenizer"), sequence_length=6, val_size=2
    )
    train, _, _ = data.datasets()
    assert train[0][0].tolist() == [1, 2, 3, 4, 1, 2]
    assert data._bytes_per_token == 3.0  # 18 bytes, 6 tokens


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": "/no/such/file"}, ["no text", "data=shakespeare"]),
        ({"tokenizer": "/no/such/tokenizer"}, ["tokenizer", "bytes"]),
        ({"sequence_length": 10**7}, ["sequence_length"]),
        ({"sequence_length": 0}, ["sequence_length", "0"]),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(wsn.WsnError) as error:
        TextData(**options).setup()
    assert all(word in str(error.value) for word in words)
