"""The seeds that Keras draws for layers, from Python's own `random`."""

import contextlib
import random
from collections.abc import Iterator


@contextlib.contextmanager
def same_seeds() -> Iterator[None]:
    """Lets layers be made that are thrown away: Keras then draws the seeds it would have drawn."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
