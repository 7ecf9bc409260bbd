"""A progress bar for what is not Lightning's training loop."""

from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class progress_bar:  # noqa: N801  (used like a function)
    """A transient rich progress bar as a context manager; gives the function that advances it by one.

    The function takes a new text for the bar, if wanted.
    """

    def __init__(self, total: int, text: str, enabled: bool = True, done: int = 0):
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), transient=True, disable=not enabled)
        self._task = self._progress.add_task(text, total=total, completed=done)

    def __enter__(self) -> Callable[..., None]:
        self._progress.start()
        return self._advance

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def _advance(self, text: str | None = None) -> None:
        self._progress.update(self._task, advance=1, description=text)  # None leaves it
