"""Checkpoints that a run can always go on from."""

import os
import pathlib
import re
import tempfile
from typing import Any

import keras

from keras_ssl.distribution import is_chief


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the whole model after every epoch, as `epoch-00012.keras` (12 epochs done).

    The file appears under its name only when it is complete (written beside it and renamed), and
    the one before is removed after that: a run that is killed at any moment leaves a good one.
    Weights, optimizer, probe and step are all in it: `keras.models.load_model`. Of several machines
    only the first leaves files, which all must be able to read.

    Args:
        folder: Where the checkpoints are kept; made if it is not there.
        keep: Number of latest checkpoints to keep, at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 1) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model."""
        if not is_chief(self.model.distribute_strategy):
            # To read a metric's state is a sum over all machines: all have to save.
            with tempfile.TemporaryDirectory() as unused:
                self.model.save(pathlib.Path(unused) / "model.keras")
            return
        partial = self.folder / "partial.keras"
        self.model.save(partial)
        os.replace(partial, self.folder / f"epoch-{epoch + 1:05d}.keras")
        for old in checkpoints(self.folder)[: -self.keep]:
            old.unlink()


def checkpoints(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(pathlib.Path(folder).glob("epoch-*.keras"), key=epochs_done)


def epochs_done(checkpoint: str | os.PathLike[str]) -> int:
    """Number of epochs a checkpoint had been trained for, from its name."""
    match = re.fullmatch(r"epoch-(\d+)\.keras", pathlib.Path(checkpoint).name)
    if match is None:
        raise ValueError(f"`checkpoint` must be named epoch-00012.keras. Received: {checkpoint}")
    return int(match[1])
