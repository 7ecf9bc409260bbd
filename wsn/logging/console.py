"""Lightning's output on the terminal."""

import logging
import warnings

UNWANTED = ("💡", "TPU available", "`weights_only`")


def quiet() -> None:
    """Drop what Lightning says that no user of wsn needs: advertising, and that validation is a callback's here."""
    logging.getLogger("lightning").propagate = False  # Hydra's root handler would print everything a second time
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):  # which has handlers depends on the launcher
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_wanted)
    warnings.filterwarnings("ignore", ".*have no `validation_step`.*")
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")


def _wanted(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(UNWANTED)
