"""Python functions in TensorFlow's graphs, which stop before Python does.

Threads of `tf.data` go on fetching while a program ends. One that calls Python when the interpreter
is already being taken down never returns, and the main thread waits for it, forever. Therefore, at
exit, calls are refused first, and then the last of them is waited for.
"""

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from keras_ssl._keras import not_translated
from keras_ssl._tensorflow import tf

# Seconds. An exit waits until Python has not been called for the first time, or for the second on a
# busy machine (one program of some hundreds needed it), and never longer than the third.
_QUIET, _QUIET_IF_BUSY, _LONGEST = 0.1, 0.5, 10.0


class _Calls:
    """Counts the calls that run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.last = 0.0  # When a call last began or ended.
        self.has_ended = False

    def __enter__(self) -> None:
        with self.lock:
            self.last = time.monotonic()
            if self.has_ended:
                raise RuntimeError("Python is ending, and no more batches are made")
            self.running += 1

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.running -= 1
            self.last = time.monotonic()

    def end(self) -> None:
        """Refuses calls from now on, and waits for those that run or are about to be refused."""
        self.has_ended, start = True, time.monotonic()
        quiet = _QUIET_IF_BUSY if _is_busy() else _QUIET
        while self.running or time.monotonic() - self.last < quiet:
            if time.monotonic() - start > _LONGEST:
                return
            time.sleep(_QUIET / 10)


def _is_busy() -> bool:
    """Whether more programs want to run than there are cores."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)


_calls = _Calls()
atexit.register(_calls.end)


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function without Python's `if` and `for` on tensors, for the graphs of tf.data.

    TensorFlow would read and translate the source of each, which takes 20 to 300 ms.
    """
    return tf.autograph.experimental.do_not_convert(function)


@not_translated
def numpy_function(
    function: Callable[..., Any], inputs: Sequence[Any], outputs: Any, stateful: bool = True
) -> Any:
    """Calls a function of NumPy in a graph: `tf.numpy_function` that stops before Python does.

    Args:
        function: Function of arrays that returns an array, or several.
        inputs: Tensors.
        outputs: The dtype of the result, or a list of dtypes.
        stateful: Whether the function may give another result for the same inputs.
    """
    return tf.numpy_function(until_the_end(function), inputs, outputs, stateful=stateful)


def until_the_end(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that raises a `RuntimeError` once the program is ending."""

    @functools.wraps(function)
    def counted(*arguments: Any) -> Any:
        with _calls:
            return function(*arguments)

    return counted
