"""Writing to TensorBoard without ever costing a run: what fails is said, and training goes on."""

import os
import pathlib
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not noticed there.
    fcntl = None  # type: ignore[assignment]

# As Keras' own callback calls it: its figures and these are then one run in TensorBoard.
RUN = "train"


class EventLogWarning(UserWarning):
    """Something could not be written for TensorBoard; training goes on."""


class EventLog:
    """A folder of TensorBoard events that one process writes to.

    A folder that cannot be written, a full disk, or another run that writes to the same folder are
    warned of, once, as an `EventLogWarning`. In the last case this run takes `train-2`, `train-3`,
    ... beside it; in the others nothing more is written.

    Args:
        log_dir: The folder that TensorBoard is pointed to; the events are in `train` below it.
    """

    def __init__(self, log_dir: Any) -> None:
        self.folder = pathlib.Path(log_dir) / RUN
        self._writer: Any = None
        self._let_go: Any = None
        try:
            self._take_folder()
            self._writer = tf.summary.create_file_writer(str(self.folder))
        except (OSError, tf.errors.OpError) as error:
            self._give_up(error)

    def _take_folder(self) -> None:
        """The first folder no other process has locked; a lock ends with its process."""
        wanted, number = self.folder, 1
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_WRONLY | os.O_CREAT)
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # At the latest when this object goes, as where an error ends training.
                self._let_go = weakref.finalize(self, os.close, lock)
                break
            except BlockingIOError:
                os.close(lock)
                number += 1
                self.folder = wanted.with_name(f"{RUN}-{number}")
        if number > 1:
            warnings.warn(
                f"Another run is writing its TensorBoard events to {wanted}: those of this run go "
                f"to {self.folder}.",
                EventLogWarning,
                stacklevel=4,
            )

    @property
    def is_open(self) -> bool:
        """Whether anything is still written."""
        return self._writer is not None

    def write(self, step: int, content: Callable[[], None]) -> None:
        """Calls `content`, whose `tf.summary` calls are written at `step`."""
        if self._writer is None:
            return
        try:
            with self._writer.as_default(step):
                content()
            self._writer.flush()
        except (OSError, tf.errors.OpError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Ends the file and lets go of the folder."""
        if self._writer is not None:
            try:
                self._writer.close()
            except tf.errors.OpError as error:
                self._give_up(error)
            self._writer = None
        if self._let_go is not None:
            self._let_go()

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        warnings.warn(
            f"TensorBoard events can no longer be written to {self.folder}; training goes on "
            f"without them. {type(error).__name__}: {str(error)[:300]}",
            EventLogWarning,
            stacklevel=4,
        )
