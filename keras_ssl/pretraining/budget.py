"""How much fits the time that there is: what an epoch costs here, and how a budget is spent."""

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssl import callbacks
from keras_ssl._log import duration
from keras_ssl._seeds import same_seeds
from keras_ssl.pretraining.defaults import Choice

# Judgments in a run with a budget, and the largest part of its time that they may take.
_JUDGMENTS, _JUDGING_SHARE = 10, 0.15
# The time of inspections, as a part of that of the epochs.
_INSPECTIONS = 1.06
# Seconds in which the pictures of the first look, the last one and the report are drawn, on one
# core of an Intel Xeon. They do not grow with the images.
_DRAWING = 20.0
_TIMED_STEPS = 5
_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(budget: str) -> float:
    """Reads a time such as "10min", "90s" or "1.5h".

    Raises:
        ValueError: if it is not a positive number with a unit: s, min, h or d.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]+)\s*", str(budget))
    if found is None or found[2] not in _UNITS or float(found[1]) <= 0:
        raise ValueError(
            f"`budget` must be a time such as 90s, 10min, 1.5h or 2d. Received: budget={budget!r}"
        )
    return float(found[1]) * _UNITS[found[2]]


class Clock:
    """Counts the time since it was made.

    Args:
        budget: The time that there is, as text, or `None`.
    """

    def __init__(self, budget: str | None = None) -> None:
        self.budget = None if budget is None else seconds(budget)
        self._begin = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._begin

    def left(self) -> float:
        """Seconds that are left of the budget."""
        return (self.budget or 0.0) - self.elapsed()


class Speed(NamedTuple):
    """How fast a model trains.

    Attributes:
        epoch: Seconds of an epoch: its start, its steps and its checkpoint.
        compiling: Seconds until the first step is done.
    """

    epoch: float
    compiling: float


class _Stopwatch(keras.callbacks.Callback):
    """Notes when the latest epoch began and ended, and when its steps ended."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = self.end = 0.0
        self.steps: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.begin, self.steps = time.monotonic(), []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.end = time.monotonic()


def measure(model: keras.Model, views: Any) -> Speed:
    """Trains a model for a short epoch twice, with a checkpoint; then all is as it was.

    The second time is measured: nothing is compiled then, and the same images have been decoded, as
    they are in all epochs but the first where they are kept in memory. A later `fit` on such views
    uses the graph that is made here.

    Args:
        model: The built and compiled `keras_ssl.models.JointEmbeddingModel`.
        views: What it will be trained on; see `keras_ssl.data.make_views`.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    if model.probe is not None:
        variables += model.probe.optimizer.variables
    before = [np.array(variable) for variable in variables]
    compiled = 0.0
    count, stopwatch = min(_TIMED_STEPS, len(views)), _Stopwatch()
    start = time.monotonic()

    def put_back() -> None:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    try:
        with same_seeds(), tempfile.TemporaryDirectory() as folder:
            for turn in range(2):
                # The stopwatch comes last: it sees when the checkpoint is written.
                watching = [callbacks.EpochCheckpoint(f"{folder}/{turn}"), stopwatch]
                model.fit(views, steps_per_epoch=count, verbose=0, callbacks=watching)
                compiled = compiled or stopwatch.steps[0]
                put_back()  # The schedule of the learning rate may have few steps.
    finally:
        put_back()
    first, *_, last = (stopwatch.begin, *stopwatch.steps)
    step = (last - stopwatch.steps[0]) / (count - 1) if count > 1 else last - first
    epoch = stopwatch.end - stopwatch.begin + (len(views) - count) * step
    return Speed(epoch, compiled - start)


class Schedule(NamedTuple):
    """How a budget is spent.

    Attributes:
        epochs: Epochs to train.
        evaluate_every: Epochs between judgments.
        seconds: The time that they are expected to take.
        others: Of that, what is no epoch: compiling, judgments and pictures.
    """

    epochs: int
    evaluate_every: int
    seconds: float
    others: float


def spend(
    left: float, per_epoch: float, judgment: float, compiling: float, every: int | None = None
) -> Schedule:
    """Fits epochs and judgments to the seconds that are left.

    Args:
        left: Seconds that are left of the budget.
        per_epoch: Seconds of an epoch.
        judgment: Seconds of one judgment.
        compiling: Seconds until the first step is done.
        every: Epochs between judgments, if they are given.
    """
    if every is None:
        judgments = int(min(max(_JUDGING_SHARE * left / max(judgment, 1e-3), 2), _JUDGMENTS))
        rest = compiling + judgments * judgment + _DRAWING
        number = max(1, int((left - rest) / (_INSPECTIONS * per_epoch)))
        every = max(1, math.ceil(number / max(judgments - 1, 1)))
    else:  # The first and the last epoch are always judged.
        rest = compiling + 2 * judgment + _DRAWING
        number = max(1, int((left - rest) / (_INSPECTIONS * per_epoch + judgment / every)))
        rest += number // every * judgment
    return Schedule(number, every, rest + number * per_epoch * _INSPECTIONS, rest)


def affordable(
    names: Iterable[str], per_epoch: Callable[[str], float], left: float, enough: int
) -> Choice:
    """Chooses the best encoder that a budget pays enough epochs for.

    Args:
        names: Encoders, from the fastest to the best.
        per_epoch: Function of a name that returns the seconds of an epoch.
        left: Seconds that are left of the budget.
        enough: Epochs that are worth more than a better encoder; see `epochs`.
    """
    chosen = None
    for name in names:
        number = left / per_epoch(name)
        if chosen is not None and number < enough:
            break
        chosen = Choice(name, f"{duration(left)} pay for about {number:.0f} epochs of it")
        if number < 4 * enough:  # The next one takes several times as long.
            break
    if chosen is None:
        raise ValueError("`names` must name an encoder. Received: names=()")
    return chosen
