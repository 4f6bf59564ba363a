"""A file of events, which TensorBoard reads."""

import itertools
import operator
import os
import pathlib
import socket
import time
from typing import Any

# Files of one process that begin in the same second need different names.
_numbers = itertools.count()


class EventFile:
    """Writes events to a new file of a folder, by TensorBoard's own writer of records.

    Args:
        folder: The folder, which is made if it is not there.

    Raises:
        OSError: if the folder or the file cannot be written to; `add`, `flush` and `close` raise
            it as well.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}.{next(_numbers):06}"
        path = folder / f"events.out.tfevents.{name}.v2"
        self._file = RecordWriter(path.open("wb"))
        self.add(Event(file_version="brain.Event:2"))
        self.flush()

    def add(self, event: Any) -> None:
        """Adds an event of `as_event`."""
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())

    def flush(self) -> None:
        """Gives the system all that was added."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def as_event(step: int, content: Any) -> Any:
    """Returns a `Summary` or an `Event`, of TensorBoard or of TensorFlow, as TensorBoard's `Event`.

    Args:
        step: The position on the x-axis, a whole number.
        content: The message.

    Raises:
        TypeError: for another content, or a step that is no whole number.
        ValueError: for a step of more than 63 bits.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    # Both packages have messages of the same names and bytes.
    kind = getattr(getattr(content, "DESCRIPTOR", None), "name", None)
    if kind == "Event":
        event = Event.FromString(content.SerializeToString())
    elif kind == "Summary":
        event = Event(summary=Summary.FromString(content.SerializeToString()))
    else:
        raise TypeError(
            "`content` must return a TensorBoard `Summary` or `Event`, such as "
            "tensorboard.plugins.scalar.summary_v2.scalar_pb(tag, value). "
            f"Received: {type(content).__name__}"
        )
    event.step = operator.index(step)
    return event
