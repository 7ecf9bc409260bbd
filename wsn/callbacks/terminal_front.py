"""The front on the terminal while a run trains."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console

from wsn.callbacks.common import SupernetCallback
from wsn.evaluation.quality import quality_of
from wsn.logging.text_front import text_front
from wsn.module import SupernetModule


class TerminalFront(SupernetCallback):
    """Print the front as text at each evaluation, if the standard output is a terminal.

    Args:
        always: print it to files and pipes too.
    """

    def __init__(self, always: bool = False):
        self.always = always

    def on_subnets_evaluated(self, trainer: L.Trainer, module: SupernetModule, rows: list[dict[str, Any]]) -> None:
        """Draw these rows; a live progress bar stays below."""
        bar = trainer.progress_bar_callback
        live = isinstance(bar, RichProgressBar) and bar.progress is not None
        console = bar.progress.console if live else Console()  # type: ignore[union-attr]
        if len(rows) > 1 and (self.always or console.is_terminal):
            name = f"{rows[0]['split']} {quality_of(rows).label} after phase {rows[0]['phase']!r}"
            console.print(text_front(rows, name))
