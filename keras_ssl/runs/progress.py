"""What a run prints while it works: it is never silent for longer than ten seconds."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_ssl._validation import check_non_negative

# Longest silence, in seconds.
_SILENCE = 10.0
# Steps that are timed for the estimate; the first step, which compiles, is not among them.
_TIMED_STEPS = 20


def duration(seconds: float) -> str:
    """A time as text: "40 s", "25 min", "3 h 20 min", "2 d 4 h"."""
    seconds = check_non_negative("seconds", seconds)
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


class _Heartbeat:
    """Prints what is going on whenever ten seconds have passed."""

    def __init__(self, say: Callable[[], str | None]) -> None:
        self._say, self._over = say, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(_SILENCE):
            if text := self._say():
                print(text, flush=True)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """A scope that prints what it does at its beginning and every ten seconds, then its time.

    Args:
        text: What the scope does, such as "judging the untrained encoder".
    """
    start = time.monotonic()
    print(f"{text} ...", flush=True)
    heartbeat = _Heartbeat(lambda: f"  still {text}, {duration(time.monotonic() - start)}")
    try:
        yield
    finally:
        heartbeat.stop()
    print(f"  done in {duration(time.monotonic() - start)}", flush=True)


class Progress(keras.callbacks.Callback):
    """Estimates the time of a run after its first steps, and prints how far it is.

    On a terminal, Keras' progress bar shows the steps. Elsewhere a line every ten seconds shows
    them, so that a log can be read: give `fit` the `verbose` of this object. Put it first in the
    list of callbacks, so that the time of the others counts as part of an epoch.

    Attributes:
        verbose: 1 on a terminal, for Keras' bar; else 2, for a line per epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.verbose = 1 if sys.stdout.isatty() else 2
        self._heartbeat: _Heartbeat | None = None
        self._place: str | None = "the first step is being compiled"
        self._steps, self._start = 0, 0.0
        self._seconds_per_step: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts to print."""
        self._heartbeat = _Heartbeat(lambda: self._place and f"  {self._place}")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch and its start."""
        self._epoch, self._epoch_start = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts and times the steps, and prints the estimate once."""
        self._place = None if self.verbose == 1 else self._describe(batch + 1, logs or {})
        if self._seconds_per_step is not None:
            return
        if self._steps == 0:
            self._start = time.monotonic()
        elif self._steps == min(_TIMED_STEPS, (self.params.get("steps") or _TIMED_STEPS) - 1):
            self._seconds_per_step = (time.monotonic() - self._start) / self._steps
            self._estimate(batch + 1)
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes what the other callbacks do now: they judge, inspect and save."""
        self._place = f"epoch {epoch + 1} of {self.params['epochs']} is done: judging and saving"

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops printing."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _describe(self, step: int, logs: Mapping[str, Any]) -> str:
        steps = f" of {self.params['steps']}" if self.params.get("steps") else ""
        loss = f", loss {float(logs['loss']):.4g}" if "loss" in logs else ""
        return f"epoch {self._epoch + 1} of {self.params['epochs']}, step {step}{steps}{loss}"

    def _estimate(self, step: int) -> None:
        steps, epochs = self.params.get("steps"), self.params["epochs"]
        if steps is None or self._seconds_per_step is None:
            return
        left = (epochs - self._epoch) * steps - step
        print(
            f"  time       about {duration(left * self._seconds_per_step)} to go without "
            f"judgments ({self._seconds_per_step:.2g} s per step)",
            flush=True,
        )
