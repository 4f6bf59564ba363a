"""Processes that end soon after the process that started them, even if that one is killed.

The starter holds one end of a pipe, and every process that it starts holds the other. The system
closes the starter's end however the starter ends, and a thread in each other process notices it.
"""

import contextlib
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator

# Seconds that a process has to end by itself once it is asked to.
SECONDS_TO_STOP = 10.0
# The environment variable that holds the number of the file descriptor to read.
_VARIABLE = "KERAS_SSL_STARTER"


@contextlib.contextmanager
def starting() -> Iterator[tuple[int, dict[str, str]]]:
    """A scope in which `subprocess.Popen` can start processes that end with this one.

    Processes that still run at the end of the scope end then.

    Yields:
        The file descriptor to pass to them (`pass_fds`), and what to add to their environment.
    """
    theirs, ours = os.pipe()
    try:
        yield theirs, {_VARIABLE: str(theirs)}
    finally:
        os.close(theirs)
        os.close(ours)


def end_with_starter() -> None:
    """Makes this process end when the one that started it has ended.

    It gets SIGTERM, and SIGKILL if it does not end within ten seconds. Does nothing in a process
    that was not started within `starting`.
    """
    descriptor = os.environ.pop(_VARIABLE, None)  # Processes that this one starts do not get it.
    if descriptor is not None and _is_pipe(int(descriptor)):
        threading.Thread(target=_watch, args=(int(descriptor),), daemon=True).start()


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)  # Nothing is ever written: this returns when the other end is closed.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def ends_when_told() -> Iterator[None]:
    """A scope that SIGTERM ends as Ctrl-C does: the trial in it is not counted as a fatal one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def is_worker() -> bool:
    """Whether this process works for a chief, by keras-tuner's own rule."""
    has_chief = "KERASTUNER_ORACLE_IP" in os.environ
    return has_chief and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")
