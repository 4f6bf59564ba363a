"""Writing to TensorBoard without ever costing a run: what fails is said, and training goes on."""

import pathlib
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_ssl._files import FolderLock

# As Keras' own callback calls it: its figures and these are then one run in TensorBoard.
RUN = "train"


class EventLogWarning(UserWarning):
    """Something could not be written for TensorBoard; training goes on."""


# By path: within a process, logs share a folder. What ends in an error, as in a notebook, may not
# have let go of it.
_in_use: "weakref.WeakValueDictionary[pathlib.Path, FolderLock]" = weakref.WeakValueDictionary()


class EventLog:
    """A folder of TensorBoard events that one process writes to.

    A folder that cannot be written, a full disk, another error, or another run that writes to the
    same folder are warned of, once, as an `EventLogWarning`. In the last case this run takes
    `train-2`, `train-3`, ... beside it (or whatever `run` is, numbered); in the others nothing more
    is written.

    Args:
        log_dir: The folder that TensorBoard is pointed to.
        run: Name of the folder below it that the events are in; ".": in `log_dir` itself.
    """

    def __init__(self, log_dir: Any, run: str = RUN) -> None:
        self.path = pathlib.Path(log_dir) / run
        self._writer: Any = None
        try:
            self._folder: FolderLock | None = self._take_folder()
            self._writer = tf.summary.create_file_writer(str(self.path))
        except (OSError, tf.errors.OpError) as error:
            self._give_up(error)

    def _take_folder(self) -> FolderLock:
        """The first folder that no other process has."""
        wanted, number = self.path, 1
        while True:
            try:
                folder = _in_use.get(self.path.resolve()) or FolderLock(self.path)
                break
            except BlockingIOError:
                number += 1
                self.path = wanted.with_name(f"{wanted.name}-{number}")
        _in_use[self.path.resolve()] = folder
        if number > 1:
            warnings.warn(
                f"Another run is writing its TensorBoard events to {wanted}: those of this run go "
                f"to {self.path}.",
                EventLogWarning,
                stacklevel=4,
            )
        return folder

    def write(self, step: int, content: Callable[[], None]) -> None:
        """Calls `content`, whose `tf.summary` calls are written at `step`."""
        if self._writer is None:
            return
        try:
            with self._writer.as_default(step):
                content()
            self._writer.flush()
        except Exception as error:  # A run is worth more than its log, whatever went wrong.
            self._give_up(error)

    def close(self) -> None:
        """Ends the file and lets go of the folder."""
        if self._writer is not None:
            try:
                self._writer.close()
            except tf.errors.OpError as error:
                self._give_up(error)
        self._writer = self._folder = None

    def _give_up(self, error: Exception) -> None:
        self._writer = self._folder = None
        warnings.warn(
            f"TensorBoard events can no longer be written to {self.path}; training goes on "
            f"without them. {type(error).__name__}: {str(error)[:300]}",
            EventLogWarning,
            stacklevel=4,
        )
