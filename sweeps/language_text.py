"""Write two kinds of text to train language models on, half and half, and to measure them by: plays and Python source.

python sweeps/language_text.py FOLDER        # writes train/*.txt, shakespeare.txt, python.txt

The plays are packaged; the Python source is the standard library of this interpreter. What is measured is of other
plays (Hamlet) and other modules than what is trained on.
"""

import gzip
import sys
import sysconfig
from pathlib import Path

from wsn.data.text import PACKAGED

TRAIN_BYTES = 900_000  # of each kind
TEST_BYTES = 12_000
EVERY = 8  # every eighth module is held out


def main(folder: Path) -> None:
    """Write the texts below ``folder``."""
    plays = [gzip.decompress(path.read_bytes()).decode() for path in PACKAGED]
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    sources = ["".join(m.read_text("utf-8") for m in part) for part in _parts(modules)]
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for name, (train, test) in {"shakespeare": plays, "python": sources}.items():
        (folder / "train" / f"{name}.txt").write_text(train[:TRAIN_BYTES], "utf-8")
        (folder / f"{name}.txt").write_text(test[:TEST_BYTES], "utf-8")
    print(f"Written: {folder}")


def _parts(modules: list[Path]) -> tuple[list[Path], list[Path]]:
    """Divide modules into those for training and those held out."""
    held = modules[::EVERY]
    return [m for m in modules if m not in held], held


if __name__ == "__main__":
    main(Path(sys.argv[1]))
