"""Checks of values inside a training step, and how their messages reach the user."""

import contextlib
import re
from collections.abc import Iterator

import keras

from keras_ssl._backend import is_traced
from keras_ssl._tensorflow import is_tensor, tf
from keras_ssl._tensors import Tensor

# These mark our own messages in TensorFlow's report of an error, which prints each value in
# brackets.
_BEGIN, _END = "keras_ssl: ", "end of keras_ssl"
_MESSAGE = re.compile(rf"\[{_BEGIN}(.*?)\] \[(.*?)\] \[{_END}\]", re.DOTALL)


def require(x: Tensor, condition: Tensor, message: str, received: Tensor) -> Tensor:
    """Returns `x` after checking `condition`, which may depend on values inside a graph.

    XLA, and so every graph of JAX, skips a check of values that it does not know.

    Args:
        x: The tensor that must not be used if the condition is false.
        condition: Boolean scalar.
        message: The error message, to which `received` is appended.
        received: Scalar.

    Raises:
        ValueError: if the condition is false. A graph that runs outside `readable_errors` raises
            TensorFlow's own InvalidArgumentError instead.
    """
    if not is_traced(condition):
        if not condition:
            raise ValueError(message + str(keras.ops.convert_to_numpy(received)))
        return x
    if not is_tensor(condition):
        return x
    data = [_BEGIN + message, received, _END]
    with tf.control_dependencies([tf.debugging.Assert(condition, data)]):
        return keras.tree.map_structure(tf.identity, x)


def marked(message: str) -> str:
    """A message of an error that Python raises inside a graph, as `readable_errors` finds it."""
    return f"[{_BEGIN}{message}] [] [{_END}]"


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """A scope in which a failed `require` raises a ValueError with just its message."""
    try:
        yield
    except Exception as error:
        # TensorFlow's InvalidArgumentError. It also makes the batches of other backends.
        ours = _MESSAGE.search(getattr(error, "message", ""))
        if ours is None:
            raise
        raise ValueError(ours[1] + ours[2]) from None
