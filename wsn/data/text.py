"""Text for language models: the packaged Shakespeare, any text file, Hugging Face data sets and tokenizers."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from wsn.backbones.hugging_face import load_tokenizer
from wsn.data.base import DataModule
from wsn.errors import WsnError
from wsn.evaluation.metrics import LanguageMetrics, SubnetMetrics
from wsn.evaluation.task import LANGUAGE
from wsn.losses import IGNORED

ASSETS = Path(__file__).parent / "assets"
PACKAGED = (ASSETS / "shakespeare_train.txt.gz", ASSETS / "shakespeare_test.txt.gz")


class TextData(DataModule):
    """Sequences of tokens: a batch is tokens (B, T) and the tokens that follow each of them (B, T).

    Texts are packed: one stream, cut into sequences without padding. With ``pack: false`` every document (a paragraph
    of a file, a row of a data set) is a sequence of its own, padded on the right; positions of padding have the label
    :data:`wsn.losses.IGNORED` and count nowhere.

    Args:
        train: a text file, a folder of them, or a Hugging Face data set (``hf:name`` or ``hf:name:config``, or a folder
            of ``save_to_disk``); None: the packaged Shakespeare, eight plays of 1.0 MB.
        test: the same for the test split, for ``hf:`` the name of a split; None: Hamlet where ``train`` is None,
            else the last ``test_share`` of the text.
        test_share: share of the text that is for testing where ``test`` is None.
        tokenizer: ``bytes``, or a folder or name of a Hugging Face tokenizer.
        text_column: of a Hugging Face data set.
        pack: cut one stream, or pad documents.
        sequence_length: T.
        vocab_size: of the tokenizer; a hint, read by conf/backbone.
        **kwargs: as for :class:`DataModule`; sizes count sequences.

    Raises:
        WsnError: a file, data set or tokenizer that cannot be read, or too little text.
    """

    task = LANGUAGE

    def __init__(
        self,
        train: str | None = None,
        test: str | None = None,
        test_share: float = 0.1,
        tokenizer: str = "bytes",
        text_column: str = "text",
        pack: bool = True,
        sequence_length: int = 256,
        vocab_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"name": "text", **kwargs})
        if sequence_length < 1:
            raise WsnError(f"data.sequence_length must be at least 1. Received {sequence_length}")
        self.train_text = train
        self.test_text = test
        self.test_share = test_share
        self.tokenizer = tokenizer
        self.text_column = text_column
        self.pack = pack
        self.sequence_length = sequence_length
        self.vocab_size = vocab_size
        self._tokenizer: Any = None
        self._bytes_per_token = 1.0

    @property
    def loaded_tokenizer(self) -> Any:
        """The Hugging Face tokenizer; None for bytes."""
        self.setup()
        return self._tokenizer

    def metrics(self) -> SubnetMetrics:
        """Return perplexity and bits per byte of one subnet."""
        self.setup()
        return LanguageMetrics(self._bytes_per_token)

    def datasets(self) -> tuple[Dataset, Dataset, Dataset]:
        """Return the training set twice, and the test set."""
        train, test = self._documents()
        train_tokens, test_tokens = ([self.encode(document) for document in part] for part in (train, test))
        sequences, measured = self._sequences(train_tokens, "training"), self._sequences(test_tokens, "test")
        self._bytes_per_token = sum(len(d.encode()) for d in test) / sum(map(len, test_tokens))
        return sequences, sequences, measured

    def encode(self, text: str) -> Tensor:
        """Return the tokens of a text (N,)."""
        if self.tokenizer == "bytes":
            return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.tokenizer)
        return torch.tensor(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)

    def _documents(self) -> tuple[list[str], list[str]]:
        """Return the documents for training and for testing."""
        if self.train_text is None:
            other = self._read(self.test_text, "test") if self.test_text is not None else None
            train, test = (self._split_documents(_read(path)) for path in PACKAGED)
            return train, other or test
        train = self._read(self.train_text, "train")
        if self.test_text is not None:
            if _is_hugging_face(self.train_text) and not Path(self.test_text).exists():
                return train, self._read(self.train_text, self.test_text)
            return train, self._read(self.test_text, "test")
        if len(train) > 1:
            cut = max(1, round(len(train) * (1 - self.test_share)))
            return train[:cut], train[cut:]
        cut = round(len(train[0]) * (1 - self.test_share))
        return [train[0][:cut]], [train[0][cut:]]

    def _read(self, source: str, split: str) -> list[str]:
        if _is_hugging_face(source):
            return _hugging_face(source, split, self.text_column)
        path = Path(source).expanduser()
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files or not all(f.is_file() for f in files):
            raise WsnError(
                f"data: there is no text at {source}. Pass a text file, a folder with .txt files, hf:<name of a data "
                "set>, or take the packaged text: data=shakespeare"
            )
        return [document for file in files for document in self._split_documents(_read(file))]

    def _split_documents(self, text: str) -> list[str]:
        return [text] if self.pack else [part for part in text.split("\n\n") if part.strip()]

    def _sequences(self, documents: Sequence[Tensor], split: str) -> "Sequences":
        length = self.sequence_length
        if self.pack:
            stream = torch.cat([*documents])
            count = (len(stream) - 1) // length
            inputs = stream[: count * length].view(count, length)
            labels = stream[1 : count * length + 1].view(count, length)
        else:
            inputs, labels = _padded([document[: length + 1] for document in documents], length)
        if not len(inputs):
            raise WsnError(
                f"data: the {split} text has no sequence of {length} tokens. Pass more text, or set a smaller "
                "data.sequence_length"
            )
        return Sequences(inputs, labels)


class Sequences(Dataset):
    """Tokens (N, T) and the tokens after them (N, T)."""

    by_epoch = True

    def __init__(self, inputs: Tensor, labels: Tensor):
        self.inputs = inputs
        self.labels = labels

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index = item[1] if isinstance(item, tuple) else item  # the training loader asks for (epoch, index)
        return self.inputs[index], self.labels[index]


def _padded(documents: Iterable[Tensor], length: int) -> tuple[Tensor, Tensor]:
    kept = [tokens for tokens in documents if len(tokens) > 1]
    inputs = torch.zeros(len(kept), length, dtype=torch.long)
    labels = torch.full((len(kept), length), IGNORED)
    for i, tokens in enumerate(kept):
        inputs[i, : len(tokens) - 1] = tokens[:-1]
        labels[i, : len(tokens) - 1] = tokens[1:]
    return inputs, labels


def _read(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise WsnError(f"data: {path} is not UTF-8 text: {error}") from error


def _is_hugging_face(source: str) -> bool:
    """Tell whether a source is a Hugging Face data set: ``hf:name``, or a folder of ``save_to_disk``."""
    folder = Path(source).expanduser()
    return source.startswith("hf:") or any((folder / f).exists() for f in ("dataset_info.json", "dataset_dict.json"))


def _hugging_face(source: str, split: str, column: str) -> list[str]:
    try:
        from datasets import load_dataset, load_from_disk
    except ImportError as error:
        raise WsnError(f"data: {source} needs the package datasets. Run: pip install 'wsn[text]'") from error
    try:
        if source.startswith("hf:"):
            name, _, config = source.removeprefix("hf:").partition(":")
            rows = load_dataset(name, config or None, split=split)
        else:
            loaded = load_from_disk(source)
            rows = loaded[split] if isinstance(loaded, dict) else loaded
        return [text for text in rows[column] if text.strip()]
    except (KeyError, ValueError, OSError) as error:
        raise WsnError(f"data: cannot read {source}, split {split!r}, column {column!r}: {error}") from error
