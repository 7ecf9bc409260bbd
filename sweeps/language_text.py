"""Write two kinds of text to train language models on, half and half, and to measure them by: plays and Python source.

python sweeps/language_text.py FOLDER     # writes train/*.txt, shakespeare.txt, python.txt, tasks/next_*.yaml

The plays are packaged; the Python source is the standard library of this interpreter. What is measured is of other
plays (Hamlet) and other modules than what is trained on. The tasks are lm-eval's: which of four pieces of the held-out
text comes next? One in four is right by chance.
"""

import gzip
import json
import random
import sys
import sysconfig
from pathlib import Path

from wsn.data.text import PACKAGED

TRAIN_BYTES = 900_000  # of each kind
TEST_BYTES = 12_000
EVERY = 8  # every eighth module is held out
QUESTIONS = 60
CONTEXT, NEXT = 160, 60  # characters of a question and of its answers
TASK = """\
task: next_{name}
dataset_path: json
dataset_kwargs: {{ data_files: {{ test: {rows} }} }}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{{ metric: acc }}]
"""


def main(folder: Path) -> None:
    """Write the texts below ``folder``."""
    plays = [gzip.decompress(path.read_bytes()).decode() for path in PACKAGED]
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    sources = ["".join(m.read_text("utf-8") for m in part) for part in _parts(modules)]
    for part in ("train", "tasks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, (train, test) in {"shakespeare": plays, "python": sources}.items():
        (folder / "train" / f"{name}.txt").write_text(train[:TRAIN_BYTES], "utf-8")
        (folder / f"{name}.txt").write_text(test[:TEST_BYTES], "utf-8")
        rows = (folder / "tasks" / f"{name}.jsonl").resolve()
        rows.write_text("\n".join(map(json.dumps, _questions(test))), "utf-8")
        (folder / "tasks" / f"next_{name}.yaml").write_text(TASK.format(name=name, rows=rows), "utf-8")
    print(f"Written: {folder}")


def _parts(modules: list[Path]) -> tuple[list[Path], list[Path]]:
    """Divide modules into those for training and those held out."""
    held = modules[::EVERY]
    return [m for m in modules if m not in held], held


def _questions(text: str) -> list[dict]:
    """Return questions over the whole text; the wrong answers are the right ones of others."""
    starts = [at * (len(text) - CONTEXT - NEXT) // QUESTIONS for at in range(QUESTIONS)]
    contexts = [text[at : at + CONTEXT] for at in starts]
    answers = [text[at + CONTEXT : at + CONTEXT + NEXT] for at in starts]
    rng, questions = random.Random(0), []
    for context, answer in zip(contexts, answers):
        choices = [answer, *rng.sample([other for other in answers if other != answer], 3)]
        rng.shuffle(choices)
        questions.append({"context": context, "choices": choices, "label": choices.index(answer)})
    return questions


if __name__ == "__main__":
    main(Path(sys.argv[1]))
