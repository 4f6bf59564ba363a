"""What the library says goes through Python's logging, under the name "keras_ssl"."""

import contextlib
import logging
import sys
from collections.abc import Iterator

LOGGER = logging.getLogger("keras_ssl")


def say(text: str) -> None:
    """Says one thing, which may have several lines: an `INFO` record of "keras_ssl"."""
    LOGGER.info(text)


@contextlib.contextmanager
def shown(quiet: bool = False) -> Iterator[None]:
    """A scope in which what is said is shown on the standard output, as plain text.

    Where the program has set up logging itself, for "keras_ssl" or as a whole, nothing is changed.

    Args:
        quiet: Whether only warnings are shown.
    """
    if LOGGER.handlers or logging.getLogger().handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
