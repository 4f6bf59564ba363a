"""Checkpoints from which a run can always go on, also within an epoch."""

import contextlib
import os
import pathlib
import re
import signal
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from typing import Any, NamedTuple

import keras

from keras_ssl import _log
from keras_ssl._files import partial_files, whole
from keras_ssl._validation import check_count, check_positive
from keras_ssl.callbacks.non_finite import check_weights
from keras_ssl.training.strategies import is_chief, is_on_one_machine, strategy_of

# The number of epochs done and, in some names, of steps of the next epoch.
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.keras")


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written or read; training goes on."""


class Stopped(KeyboardInterrupt):  # noqa: N818 (not an error: somebody asked for it)
    """Training was asked to stop; it saved a checkpoint and stopped.

    Attributes:
        signal: The signal that asked. A program then ends with the status 128 + `signal`, as a
            shell expects: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"stopped by {number.name}")
        self.signal = number


class StopSignals:
    """Answers Ctrl-C and SIGTERM during training by a checkpoint at the end of the step.

        with StopSignals() as signals:
            checkpoint = EpochCheckpoint("checkpoints", signals=signals)
            model.fit(views, epochs=100, callbacks=[checkpoint])

    A second signal interrupts at once, and outside of training the first one does.

    Attributes:
        received: The signal that was received, or `None`.
        is_training: Whether a checkpoint will answer a signal; `EpochCheckpoint` sets it.

    Example:
        The first signal in training is only noted; a checkpoint at the end of the step answers it.

        >>> with StopSignals() as signals:
        ...     signals.is_training = True
        ...     signal.raise_signal(signal.SIGTERM)
        >>> signals.received.name
        'SIGTERM'
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.is_training = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # Other threads get no signals.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        self.is_training = False  # `on_train_end` is not called after an error.

    def _receive(self, number: int, frame: Any) -> None:
        is_second = self.received is not None
        self.received = signal.Signals(number)
        if is_second or not self.is_training:
            raise KeyboardInterrupt
        if _log.is_shown():
            # Not by `print`, which a signal may have interrupted. A terminal that is gone is no
            # reason not to save.
            with contextlib.suppress(OSError):
                os.write(
                    2, b"\nStopping after this step, and saving. Interrupt again to stop at once.\n"
                )


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the whole model after every epoch, as `epoch-00012.keras` (12 epochs done).

    With `minutes`, it also saves the model within an epoch, as `epoch-00012-step-0000340.keras`
    (340 steps of the 13th): `fit(views, initial_epoch=12, initial_step=340)` goes on exactly from
    there.

    A file gets its name only when it is complete (it is written under another name and renamed),
    and older files are removed after that: a run that is killed at any moment leaves a good
    checkpoint. Weights that are not finite are not saved. A checkpoint holds the weights, the
    optimizer, the probe, the step and the figures of the epoch so far;
    `keras.models.load_model` reads it. Of several machines only the first leaves files, which all
    of them must be able to read. If a file cannot be written, the callback warns
    (`CheckpointWarning`) and training goes on.

    Args:
        folder: The folder of the checkpoints; it is made if it does not exist.
        keep: Number of latest checkpoints to keep, at least 1.
        minutes: Time between checkpoints within an epoch, positive. `None`: there are none. It has
            no effect on several machines, whose clocks would have to agree on a step.
        signals: A `StopSignals`. When it has received a signal, the callback saves a checkpoint at
            the end of the step and raises `Stopped`. It has no effect on several machines
            either.

    Raises:
        ValueError: for a number out of its range; in training, before its first step, if the folder
            holds a checkpoint of a later epoch than the one that it begins with, or if Keras cannot
            save the model.
        NonFiniteLossError: in training, if a weight is not finite; the last good checkpoint
            remains.

    Example:
        >>> from keras_ssl import models
        >>> encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
        >>> model, view = models.VICReg(encoder, projector="4"), keras.ops.ones((4, 2))
        >>> model.compile("sgd", run_eagerly=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = EpochCheckpoint(folder, keep=1)
        ...     history = model.fit((view, view), epochs=2, verbose=0, callbacks=[checkpoint])
        ...     os.listdir(folder)
        ['epoch-00002.keras']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 1,
        minutes: float | None = None,
        signals: StopSignals | None = None,
    ) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.keep = check_count("keep", keep)
        self.minutes = None if minutes is None else check_positive("minutes", minutes)
        self.signals = signals
        self._epoch, self._saved = 0, 0.0
        self._is_checked = False
        self._replaced: list[pathlib.Path] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock, removes unfinished files, and begins to answer signals."""
        self._saved, self._is_checked = time.monotonic(), False
        _check_can_be_saved(self.model)
        for left in partial_files(self.folder):  # A process was killed while it saved these.
            with contextlib.suppress(OSError):
                left.unlink()
        if self.signals is not None and is_on_one_machine(strategy_of(self.model)):
            self.signals.is_training = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch. Before the first one, looks for later checkpoints."""
        self._epoch = epoch
        if not self._is_checked:
            self._is_checked = True
            self._check_folder()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model if it is time, or if training was asked to stop."""
        steps = self.params.get("steps")
        if steps is not None and batch + 1 >= steps:
            return  # The end of the epoch comes next, and saves the model.
        is_time = self.minutes is not None and time.monotonic() - self._saved > 60 * self.minutes
        is_due = is_time or self._received() is not None
        # The model comes last: to ask for it, JAX copies all weights.
        if is_due and is_on_one_machine(strategy_of(self.model)):
            self._save(f"epoch-{self._epoch:05d}-step-{batch + 1:07d}.keras")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model."""
        self._save(f"epoch-{epoch + 1:05d}.keras")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops answering signals, because training is over."""
        if self.signals is not None:
            self.signals.is_training = False

    def _check_folder(self) -> None:
        # They would stay the latest ones, and what is trained now would be deleted as older.
        begin = Position(self._epoch, self.params.get("initial_step", 0))
        later = [file for file in checkpoints(self.folder) if position(file) > begin]
        in_the_way = [
            file for file in later if position(file).epoch > self._epoch and _damage(file) is None
        ]
        if in_the_way:
            raise ValueError(
                f"`folder` must hold no checkpoint of a later epoch than the {self._epoch} that "
                "training begins with: go on from the latest one (`initial_epoch`), or name "
                f"another folder. Received: folder={str(self.folder)!r}, which holds "
                f"{in_the_way[-1].name}"
            )
        # This epoch is done again: what is left of it goes when there is something new.
        self._replaced = later

    def _save(self, name: str) -> None:
        save_model(self.model, self.folder / name)
        self._saved = time.monotonic()
        for old in self._replaced:
            if old.name != name:
                old.unlink(missing_ok=True)
        self._replaced = []
        for old in checkpoints(self.folder)[: -self.keep]:
            if old.name != name:
                old.unlink()
        if (asked := self._received()) is not None:
            raise Stopped(asked)

    def _received(self) -> signal.Signals | None:
        return None if self.signals is None else self.signals.received


def _check_can_be_saved(model: keras.Model) -> None:
    """Raises before an epoch is trained that could not be saved."""
    try:
        keras.saving.serialize_keras_object(model)
    except NotImplementedError as error:  # Keras misses a `get_config`.
        raise ValueError(
            f"`model` must be one that Keras can save. Received: {type(model).__name__}: {error}"
        ) from error


def save_model(model: keras.Model, path: pathlib.Path) -> None:
    """Saves a model whole or not at all, and warns if it cannot (for example, if the disk is full).

    On several machines, all have to call this, and only the first leaves a file.

    Args:
        model: The model.
        path: The `.keras` file. If it cannot be written, the file from before remains.

    Raises:
        NonFiniteLossError: if a weight is not finite; the file from before remains.
    """
    check_weights(model)
    if not is_chief(strategy_of(model)):
        # Reading a metric's state sums over all machines, so that all have to save.
        with tempfile.TemporaryDirectory() as unused:
            model.save(pathlib.Path(unused) / "model.keras")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            model.save(partial)
    except OSError as error:
        # The weights in memory are worth more than the file: training must not end here.
        warnings.warn(
            f"The checkpoint {path} could not be written; training goes on, and the one before is "
            f"kept. {type(error).__name__}: {error}",
            CheckpointWarning,
            stacklevel=2,
        )


class Position(NamedTuple):
    """How far a model has been trained: the epochs done, and the steps of the next one.

    Example:
        >>> epoch, step = position("epoch-00012-step-0000340.keras")
        >>> epoch, step  # for fit(views, initial_epoch=epoch, initial_step=step)
        (12, 340)
    """

    epoch: int
    step: int


def position(checkpoint: str | os.PathLike[str]) -> Position:
    """Reads from a checkpoint's name how far it has been trained.

    Raises:
        ValueError: for a file whose name is not that of a checkpoint.

    Example:
        >>> position("checkpoints/epoch-00012-step-0000340.keras")
        Position(epoch=12, step=340)
        >>> position("best.keras")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `checkpoint` must be named epoch-00012.keras, or ...
    """
    match = _NAME.fullmatch(pathlib.Path(checkpoint).name)
    if match is None:
        raise ValueError(
            "`checkpoint` must be named epoch-00012.keras, or epoch-00012-step-0000340.keras. "
            f"Received: {str(checkpoint)!r}"
        )
    return Position(int(match[1]), int(match[2] or 0))


def epochs_done(checkpoint: str | os.PathLike[str]) -> int:
    """Reads from a checkpoint's name the number of whole epochs it has been trained for.

    Example:
        >>> epochs_done("epoch-00012.keras"), epochs_done("epoch-00012-step-0000340.keras")
        (12, 12)
    """
    return position(checkpoint).epoch


def checkpoints(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the checkpoints in a folder, oldest first.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("epoch-00002.keras", "epoch-00001-step-0000340.keras", "best.keras"):
        ...         (pathlib.Path(folder) / name).touch()
        ...     [checkpoint.name for checkpoint in checkpoints(folder)]
        ['epoch-00001-step-0000340.keras', 'epoch-00002.keras']
    """
    files = pathlib.Path(folder).glob("epoch-*.keras")
    return sorted((file for file in files if _NAME.fullmatch(file.name)), key=position)


def latest_checkpoint(folder: str | os.PathLike[str]) -> pathlib.Path | None:
    """Returns the latest checkpoint that is not damaged, or `None` if there are none.

    It warns of each damaged checkpoint (`CheckpointWarning`) and takes the one before it.

    Raises:
        ValueError: if there are checkpoints, and all of them are damaged.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     nothing = latest_checkpoint(folder)
        ...     for epoch in (1, 2):
        ...         model.save(f"{folder}/epoch-{epoch:05d}.keras")
        ...     print(nothing, latest_checkpoint(folder).name)
        None epoch-00002.keras
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        damage = _damage(checkpoint)
        if damage is None:
            return checkpoint
        warnings.warn(
            f"The checkpoint {checkpoint} is damaged ({damage}), and is passed over.",
            CheckpointWarning,
            stacklevel=2,
        )
    if found:
        raise ValueError(
            f"`folder` must hold a checkpoint that can be read. Received: {str(folder)!r}, where "
            f"all {len(found)} are damaged"
        )
    return None


def _damage(checkpoint: pathlib.Path) -> str | None:
    """Describes what is wrong with a file that should be a whole archive, or returns `None`."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
            missing = {"config.json", "model.weights.h5"} - set(archive.namelist())
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return f"{type(error).__name__}: {error}"
    if broken or missing:
        return f"{broken} is broken" if broken else f"{', '.join(sorted(missing))} is missing"
    return None
