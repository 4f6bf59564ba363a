"""What the library says goes through Python's logging, under the name "keras_ssl"."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

LOGGER = logging.getLogger("keras_ssl")
# Longest silence of a stage, in seconds.
SILENCE = 10.0


def say(text: str) -> None:
    """Says one thing, which may have several lines: an `INFO` record of "keras_ssl"."""
    LOGGER.info(text)


def is_shown() -> bool:
    """Whether anybody sees what is said."""
    return LOGGER.isEnabledFor(logging.INFO)


class _Printer(logging.Handler):
    """Prints a record as it is, to what is the standard output at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # A name of a file may hold what a terminal cannot show, or no text can.
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = self.format(record).encode(encoding, "backslashreplace").decode(encoding)
        try:
            print(text, file=sys.stdout, flush=True)
        except BrokenPipeError:
            raise  # Whoever was reading has gone.
        except OSError:
            pass  # A full disk under a log is no reason to end a run.


@contextlib.contextmanager
def shown(quiet: bool = False) -> Iterator[None]:
    """A scope in which what is said is printed to the standard output.

    Nothing is changed in an inner scope, and where the program prints its logs itself: by a handler
    of "keras_ssl", or by `logging.basicConfig`.

    Args:
        quiet: Whether only warnings are printed.
    """
    root = logging.getLogger().handlers
    if LOGGER.handlers or any(type(handler) is logging.StreamHandler for handler in root):
        yield
        return
    handler, level = _Printer(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def duration(seconds: float) -> str:
    """A time as text: "40 s", "25 min", "3 h 20 min", "2 d 4 h"."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


class Heartbeat:
    """Says what is going on whenever ten seconds have passed.

    Args:
        text: Function that returns what is going on, or `None` if there is nothing to say.
    """

    def __init__(self, text: Callable[[], str | None]) -> None:
        self._text, self._over = text, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(SILENCE):
            if text := self._text():
                say(text)

    def stop(self) -> None:
        """Says no more."""
        self._over.set()
        self._thread.join()


class _Stage:
    """A stage that is going on, and how much of it is done."""

    def __init__(self, text: str) -> None:
        self.text, self.start = text, time.monotonic()
        self._last = self.start
        self._loop: tuple[float, int, int] | None = None  # its start, done, total

    def advance(self, done: int, total: int) -> None:
        is_new = self._loop is None or done <= self._loop[1] or total != self._loop[2]
        # What is done when a loop first speaks was begun when something was last done.
        start = self._last if is_new else self._loop[0]  # type: ignore[index]
        self._loop, self._last = (start, done, total), time.monotonic()

    def describe(self) -> str:
        now = time.monotonic()
        text = f"  still {self.text}, {duration(now - self.start)}"
        if self._loop is None:
            return text
        start, done, total = self._loop
        left = (now - start) / max(done, 1) * (total - done)
        return f"{text}: {done:,} of {total:,}, about {duration(left)} to go"


_stages: list[_Stage] = []


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """A scope that says what it does at its beginning and every ten seconds, then its time.

    Args:
        text: What the scope does, such as "judging the untrained encoder".
    """
    going_on = _Stage(text)
    say(f"{text} ...")
    _stages.append(going_on)
    heartbeat = Heartbeat(going_on.describe)
    try:
        yield
    finally:
        heartbeat.stop()
        _stages.remove(going_on)
    say(f"  done in {duration(time.monotonic() - going_on.start)}")


def advance(done: int, total: int) -> None:
    """Tells the stage that is going on, if there is one, how much of a loop is done.

    Args:
        done: Number of things that are done.
        total: Number of things in all.
    """
    if _stages:
        _stages[-1].advance(done, total)
