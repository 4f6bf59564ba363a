"""What a person would choose who knows the images, the machine, and the time that there is.

Each choice is returned with its reason, and a run says both.
"""

import math
import pathlib
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras

from keras_ssl._backend import has_accelerator
from keras_ssl._log import duration
from keras_ssl._tensors import Tensor
from keras_ssl.data.sources.shards import is_shards

# Pixels to a side for photos. Without an accelerator, four times the pixels are four times the
# time; with one, 128 pixels keep most of what a photo shows.
_PHOTO_SIZES = {False: 64, True: 128}
# How many images a run sees in all, both views of an image counted once, and the fewest and the
# most epochs that this may take. On CIFAR-10, ten epochs bring ResNet-8 most of what it can learn.
_IMAGES_SEEN = {False: (250_000, 10, 100), True: (20_000_000, 20, 400)}
# Encoders from the fastest to the best. A budget pays for a better one if it leaves enough epochs.
_ENCODERS = {
    "tiny": ("resnet8", "resnet18"),
    False: ("resnet8-strided", "resnet18"),
    True: ("resnet18", "resnet50"),
}
# Epochs that are worth more than a better encoder.
_ENOUGH_EPOCHS = 50
# Judgments in a run with a budget, and the largest part of its time that they may take.
_JUDGMENTS, _JUDGING_SHARE = 10, 0.15
# The time of inspections and the report, as a part of that of the epochs.
_REST = 1.06
_TIMED_STEPS = 4
_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Choice(NamedTuple):
    """A setting, and why it was chosen."""

    value: Any
    reason: str


def machine() -> str:
    """Says whether there is an accelerator."""
    return "with an accelerator" if has_accelerator() else "without an accelerator"


def image_size(source: Any) -> Choice | None:
    """Chooses the size of photos in files or shards; other images keep their own."""
    path = pathlib.Path(str(source))
    is_photos = (
        "://" in str(source)
        or path.suffix in (".csv", ".tsv")
        or is_shards(str(source))
        or (path.is_dir() and not any(path.glob("*-idx3-ubyte*")))
    )
    if not is_photos:
        return None
    size = _PHOTO_SIZES[has_accelerator()]
    return Choice(size, f"{size} px, {machine()}")


def encoders(image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Returns the encoders to choose from, the default first and then better ones."""
    return _ENCODERS["tiny" if image_shape[0] <= 32 else has_accelerator()]


def epochs(images: int) -> Choice:
    """Chooses how many epochs a number of images needs."""
    seen, fewest, most = _IMAGES_SEEN[has_accelerator()]
    number = min(max(round(seen / images), fewest), most)
    return Choice(number, f"{number * images:,} images seen, {machine()}")


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


class Speed(NamedTuple):
    """How fast a model trains.

    Attributes:
        epoch: Seconds of an epoch: its steps, its start, and its checkpoint.
        compiling: Seconds until the first step is done.
    """

    epoch: float
    compiling: float


def measure(model: keras.Model, views: Any) -> Speed:
    """Trains a model, which is thrown away, for a few steps, and saves it once.

    Args:
        model: The model.
        views: What it will be trained on; see `keras_ssl.data.make_views`.
    """
    start = time.monotonic()
    model.compile(keras.optimizers.SGD(0.0))
    batches = iter(views)
    _step(model, next(batches))
    compiled = time.monotonic()
    for _ in range(_TIMED_STEPS):
        _step(model, next(batches))
    step = (time.monotonic() - compiled) / _TIMED_STEPS
    again = time.monotonic()
    # An epoch starts anew: for small sets, that takes longer than its steps.
    next(iter(views))
    with tempfile.TemporaryDirectory() as folder:
        model.save(pathlib.Path(folder) / "model.keras")
    return Speed(len(views) * step + time.monotonic() - again, compiled - start)


def _step(model: keras.Model, batch: tuple[Tensor, ...]) -> None:
    model.train_on_batch(*batch[:2])


class Schedule(NamedTuple):
    """How a budget is spent.

    Attributes:
        epochs: Epochs to train.
        evaluate_every: Epochs between judgments.
        seconds: The time that they are expected to take.
    """

    epochs: int
    evaluate_every: int
    seconds: float


def spend(left: float, per_epoch: float, judgment: float, compiling: float) -> Schedule:
    """Fits epochs and judgments to the seconds that are left.

    Args:
        left: Seconds that are left of the budget.
        per_epoch: Seconds of an epoch.
        judgment: Seconds of one judgment.
        compiling: Seconds until the first step is done.
    """
    judgments = int(min(max(_JUDGING_SHARE * left / max(judgment, 1e-3), 2), _JUDGMENTS))
    training = left - compiling - judgments * judgment
    number = max(1, int(training / (_REST * per_epoch)))
    every = max(1, math.ceil(number / max(judgments - 1, 1)))
    return Schedule(number, every, compiling + judgments * judgment + number * per_epoch * _REST)


def affordable(names: Iterable[str], per_epoch: Callable[[str], float], left: float) -> Choice:
    """Chooses the best encoder that a budget pays enough epochs for.

    Args:
        names: Encoders, from the fastest to the best.
        per_epoch: Function of a name that returns the seconds of an epoch.
        left: Seconds that are left of the budget.
    """
    chosen = None
    for name in names:
        number = left / per_epoch(name)
        if chosen is not None and number < _ENOUGH_EPOCHS:
            break
        chosen = Choice(name, f"{duration(left)} pay for about {number:.0f} epochs of it")
        if number < 4 * _ENOUGH_EPOCHS:  # The next one takes several times as long.
            break
    if chosen is None:
        raise ValueError("`names` must name an encoder. Received: names=()")
    return chosen
