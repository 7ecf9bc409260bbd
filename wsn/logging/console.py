"""What Lightning says on the terminal."""

import logging
import warnings


def quiet() -> None:
    """Drop what Lightning says that no user of wsn needs: advertising, and that validation is a callback's here."""
    unwanted = ("💡", "TPU available", "`weights_only`")
    logger = logging.getLogger("lightning")
    logger.propagate = False  # Hydra's root handler would print everything a second time
    for handler in logger.handlers:
        handler.addFilter(lambda record: not record.getMessage().startswith(unwanted))
    warnings.filterwarnings("ignore", ".*have no `validation_step`.*")
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")
