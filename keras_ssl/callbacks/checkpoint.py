"""Checkpoints that a run can always go on from."""

import contextlib
import os
import pathlib
import re
import tempfile
import warnings
from typing import Any

import keras

from keras_ssl.distribution import is_chief


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; training goes on."""


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the whole model after every epoch, as `epoch-00012.keras` (12 epochs done).

    The file appears under its name only when it is complete (written beside it and renamed), and
    the one before is removed after that: a run that is killed at any moment leaves a good one.
    Weights, optimizer, probe and step are all in it: `keras.models.load_model`. Of several machines
    only the first leaves files, which all must be able to read. What cannot be written is warned of
    (`CheckpointWarning`), and training goes on.

    Args:
        folder: Where the checkpoints are kept; made if it is not there.
        keep: Number of latest checkpoints to keep, at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 1) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model."""
        save_model(self.model, self.folder / f"epoch-{epoch + 1:05d}.keras")
        for old in checkpoints(self.folder)[: -self.keep]:
            old.unlink()


def save_model(model: keras.Model, path: pathlib.Path) -> None:
    """Saves a model whole or not at all, and warns where it cannot (a full disk, say).

    Of several machines all have to call this, and the first alone leaves a file.

    Args:
        model: The model.
        path: The `.keras` file. Where it cannot be written, what was there before stays.
    """
    if not is_chief(model.distribute_strategy):
        # To read a metric's state is a sum over all machines: all have to save.
        with tempfile.TemporaryDirectory() as unused:
            model.save(pathlib.Path(unused) / "model.keras")
        return
    partial = path.with_name("partial.keras")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(partial)
        os.replace(partial, path)
    except OSError as error:
        # The weights in memory are worth more than those that could not be written.
        warnings.warn(
            f"The checkpoint {path} could not be written; training goes on, and the one before is "
            f"kept. {type(error).__name__}: {error}",
            CheckpointWarning,
            stacklevel=2,
        )
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def checkpoints(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(pathlib.Path(folder).glob("epoch-*.keras"), key=epochs_done)


def epochs_done(checkpoint: str | os.PathLike[str]) -> int:
    """Number of epochs a checkpoint had been trained for, from its name."""
    match = re.fullmatch(r"epoch-(\d+)\.keras", pathlib.Path(checkpoint).name)
    if match is None:
        raise ValueError(f"`checkpoint` must be named epoch-00012.keras. Received: {checkpoint}")
    return int(match[1])
