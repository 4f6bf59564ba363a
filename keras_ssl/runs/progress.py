"""What a run says while it works: it is never silent for longer than ten seconds."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import keras

from keras_ssl import _log
from keras_ssl._validation import check_non_negative

# Steps that are timed for the estimate; the first step, which compiles, is not among them.
_TIMED_STEPS = 20
# Seconds between two drawings of the bar.
_REDRAWN = 0.2


def duration(seconds: float) -> str:
    """A time as text: "40 s", "25 min", "3 h 20 min", "2 d 4 h"."""
    return _log.duration(check_non_negative("seconds", seconds))


class Progress(keras.callbacks.Callback):
    """Says how far a run is, and how long it will take.

    After the first steps it estimates the time. Each epoch is one line, with its figures and the
    time left. Within an epoch, Keras' progress bar shows the steps and the loss on a terminal;
    elsewhere a line every ten seconds does, so that a log can be read. It takes the place of
    `fit`'s own bar (`verbose=0`), whose many figures would not fit into 80 columns. Put it first
    in the list of callbacks, so that the time of the others counts as part of an epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_bar = _log.is_shown() and sys.stdout.isatty()
        self._bar: keras.utils.Progbar | None = None
        self._first, self._drawn = 0, 0.0
        self._heartbeat: _log.Heartbeat | None = None
        self._place: str | None = "the first step is being compiled"
        self._steps, self._start = 0, 0.0
        self._seconds_per_step: float | None = None
        self._epoch, self._logs = 0, {}  # type: tuple[int, dict[str, Any]]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts to speak."""
        self._heartbeat = _log.Heartbeat(lambda: self._place and f"  {self._place}")
        self._times: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Says how the epoch before ended: by now, the other callbacks have added their figures."""
        self._say_epoch()
        self._epoch = epoch
        self._times.append(time.monotonic())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts and times the steps, and says the estimate once."""
        if self._has_bar and self.params.get("steps"):
            self._place = None
            self._draw(batch, logs or {})
        else:
            self._place = self._describe(batch + 1, logs or {})
        if self._seconds_per_step is not None:
            return
        if self._steps == 0:
            self._start = time.monotonic()
        elif self._steps == min(_TIMED_STEPS, (self.params.get("steps") or _TIMED_STEPS) - 1):
            self._seconds_per_step = (time.monotonic() - self._start) / self._steps
            self._estimate(batch + 1)
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the figures, and notes what the other callbacks do now: judge, inspect, save."""
        self._bar = None
        self._logs = {} if logs is None else logs
        self._place = f"epoch {epoch + 1} of {self.params['epochs']} is done: judging and saving"

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Says how the last epoch ended, and nothing more."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
            self._say_epoch()

    def _say_epoch(self) -> None:
        """One line about the epoch that is over."""
        logs, self._logs = self._logs, {}
        if not logs:
            return
        done = self._epoch + 1
        # The first epoch also compiles, and is always judged: the others tell the time.
        timed = self._times[1:]
        left = (time.monotonic() - timed[0]) / len(timed) if timed else 0.0
        left *= self.params["epochs"] - done
        names = ("loss", "val_knn", "val_linear", "val_rankme", "probe_accuracy")
        figures = ", ".join(
            f"{name.removeprefix('val_').replace('_', ' ')} {_figure(name, float(logs[name]))}"
            for name in names
            if name in logs
        )
        to_go = f"; about {duration(left)} to go" if left else ""
        _log.say(f"Epoch {done}/{self.params['epochs']}: {figures}{to_go}")

    def _draw(self, batch: int, logs: Mapping[str, Any]) -> None:
        if self._bar is None:
            # An epoch that goes on has only the rest of its steps, by which Keras estimates.
            self._first, self._drawn = batch, 0.0
            target = self.params["steps"] - batch
            self._bar = keras.utils.Progbar(target, stateful_metrics=["loss"])
        step = batch + 1 - self._first
        # To read the loss is to wait for the device, which must not happen at every step.
        if time.monotonic() - self._drawn > _REDRAWN or step == self._bar.target:
            loss = [("loss", float(logs["loss"]))] if "loss" in logs else []
            self._bar.update(step, loss)
            self._drawn = time.monotonic()

    def _describe(self, step: int, logs: Mapping[str, Any]) -> str:
        steps = ""
        if (total := self.params.get("steps")) is not None:
            # With `steps_per_execution`, Keras counts on beyond the end.
            step, steps = min(step, total), f" of {total}"
        loss = f", loss {float(logs['loss']):.4g}" if "loss" in logs else ""
        return f"epoch {self._epoch + 1} of {self.params['epochs']}, step {step}{steps}{loss}"

    def _estimate(self, step: int) -> None:
        steps, epochs = self.params.get("steps"), self.params["epochs"]
        if steps is None or self._seconds_per_step is None:
            return
        left = (epochs - self._epoch) * steps - step
        if self._bar is not None and step < steps:
            print()  # The bar's line stays as it is, and the bar goes on below.
        _log.say(
            f"  time       about {duration(left * self._seconds_per_step)} to go without "
            f"judgments ({self._seconds_per_step:.2g} s per step)"
        )


def _figure(name: str, value: float) -> str:
    """A figure of an epoch as text; accuracies are percents."""
    if name in ("val_knn", "val_linear", "probe_accuracy"):
        return f"{100 * value:.1f} %"
    return f"{value:.4g}"
