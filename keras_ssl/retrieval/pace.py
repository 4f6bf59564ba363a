"""`Pace`: says how far a long work is."""

import time

from keras_ssl import _log
from keras_ssl.runs import duration

# Longest silence, in seconds.
_SILENCE = 10.0


class Pace:
    """Says every ten seconds how far the work is, and when it will be done.

    Args:
        total: The number of steps.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self.said = total, 0, time.monotonic()
        self.begin: float | None = None  # After the first steps, which are compiled.
        self.first = 0

    def step(self, count: int) -> None:
        """Counts steps that are done."""
        now = time.monotonic()
        self.done += count
        if self.begin is None:
            self.begin, self.first = now, self.done
        elif now - self.said >= _SILENCE:
            rate = (self.done - self.first) / max(now - self.begin, 1e-9)
            left = duration((self.total - self.done) / rate)
            _log.say(
                f"  {self.done:,} of {self.total:,}, {rate:.3g} per second, about {left} to go"
            )
            self.said = now
