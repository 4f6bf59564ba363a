"""Writes to TensorBoard without risk to a run: a failure is a warning, and training goes on."""

import contextlib
import pathlib
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from keras_ssl._files import FolderLock
from keras_ssl._renames import EVENTS, renamed
from keras_ssl.inspection.event_file import EventFile, as_event

# Keras' own callback uses this name, so that TensorBoard shows its figures and these as one run.
RUN = "train"

# TensorBoard groups its cards by what stands before the first "/" of a tag, and sorts the groups as
# text in which digits come before letters and whatever is pinned comes first (`compareTagNames` in
# its metrics/utils.ts; https://github.com/tensorflow/tensorboard/issues/865 advises numbers). These
# sections get one, so that they are the first: without it, the first would be "bounds".
_FIRST_SECTIONS = {"training": 1, "evaluation": 2}


def tag(name: str) -> str:
    """Returns the TensorBoard tag of a figure: of "training/loss", "1_training/loss"."""
    number = _FIRST_SECTIONS.get(name.partition("/")[0])
    return name if number is None else f"{number}_{name}"


def figure_name(tag_: str) -> str:
    """Returns the name of the figure that has a TensorBoard tag, in a log of any version."""
    for section, number in _FIRST_SECTIONS.items():
        if tag_.startswith(f"{number}_{section}/"):
            tag_ = tag_.partition("_")[2]
    return renamed(tag_, EVENTS)


class EventLogWarning(UserWarning):
    """Something could not be written for TensorBoard; training goes on."""


# By path: logs of one process share a folder, because a run that ended in an error, as in a
# notebook, may still hold it.
_in_use: "weakref.WeakValueDictionary[pathlib.Path, FolderLock]" = weakref.WeakValueDictionary()


class EventLog:
    """A folder of TensorBoard events to which one process writes.

    The log warns once of each of these, with an `EventLogWarning`:

    - If another run writes to the same folder, this run takes `train-2`, `train-3`, ... beside
      it (or the name `run`, numbered).
    - If something cannot be made, such as a picture, it is left out and the rest is written.
    - If the folder cannot be written to, or the disk is full, nothing more is written.

    Args:
        log_dir: The folder to point TensorBoard to.
        run: Name of the folder of events below `log_dir`. ".": `log_dir` itself.

    Example:
        >>> import tempfile
        >>> from keras_ssl.inspection import events, summaries
        >>> with tempfile.TemporaryDirectory() as log_dir:
        ...     log = EventLog(log_dir)
        ...     log.write(0, lambda: summaries.scalar("loss", 0.5))
        ...     log.close()
        ...     events.read_events(log_dir).scalars
        {'loss': [(0, 0.5)]}
    """

    def __init__(self, log_dir: Any, run: str = RUN) -> None:
        self.path = pathlib.Path(log_dir) / run
        self._users = 1
        self._file: EventFile | None = None
        self._failed: set[str] = set()
        try:
            self._folder: FolderLock | None = self._take_folder()
            self._file = EventFile(self.path)
        except OSError as error:
            self._give_up(error)

    def _take_folder(self) -> FolderLock:
        """Takes the first folder that no other process holds."""
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
                f"Another run is writing its TensorBoard events to {wanted}. This run writes "
                f"its events to {self.path}.",
                EventLogWarning,
                stacklevel=4,
            )
        return folder

    def write(self, step: int, content: Callable[[], Any], name: str = "events") -> None:
        """Writes what `content` returns at `step`.

        Args:
            step: The position on the x-axis.
            content: A function that returns one of TensorBoard's `Summary` or `Event`, such as
                `lambda: summaries.scalar("loss", 0.5)`; see `keras_ssl.inspection.summaries`.
            name: Name of the content, for the warning if `content` fails.
        """
        self.write_each(step, {name: content})

    def write_each(self, step: int, contents: Mapping[str, Callable[[], Any]]) -> None:
        """Writes contents by name, as `write` does. If one fails, the others are written."""
        if self._file is None:
            return
        try:
            for name, content in contents.items():
                try:
                    event = as_event(step, content())
                except Exception as error:  # A run is worth more than its log: any error.
                    self._leave_out(name, error)
                else:
                    self._file.add(event)
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def write_files(self, write: Callable[[], Any], name: str) -> None:
        """Calls a function that writes files of its own to the folder.

        Args:
            write: The function.
            name: Name of the files, for the warning if `write` fails.
        """
        if self._file is None:
            return
        try:
            write()
        except Exception as error:  # As above.
            self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            self._warn(f"{name!r} could not be written to {self.path}; the rest is.", error)

    def share(self) -> "EventLog":
        """Returns this log for one more user; it ends when each user has closed it."""
        self._users += 1
        return self

    def close(self) -> None:
        """Closes the file and releases the folder, if no other user shares the log."""
        self._users -= 1
        if self._users > 0:
            return
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)
        self._file = self._folder = None

    def _give_up(self, error: Exception) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = self._folder = None
        self._warn(
            f"TensorBoard events can no longer be written to {self.path}; training goes on "
            "without them.",
            error,
        )

    @staticmethod
    def _warn(text: str, error: Exception) -> None:
        message = f"{text} {type(error).__name__}: {str(error)[:300]}"
        warnings.warn(message, EventLogWarning, stacklevel=5)
