"""What a step checks of the values that it is given, and how that reaches the user."""

import contextlib
import re
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_ssl._tensors import Tensor

# Begins and ends the messages of our own checks within TensorFlow's report of an error, which
# prints each value in brackets.
_BEGIN, _END = "keras_ssl: ", "end of keras_ssl"
_MESSAGE = re.compile(rf"\[{_BEGIN}(.*?)\] \[(.*?)\] \[{_END}\]", re.DOTALL)


def require(x: Tensor, condition: Tensor, message: str, received: Tensor) -> Tensor:
    """`x`, once it is known that `condition` holds; for what only values tell, within a graph.

    XLA skips such checks.

    Args:
        x: A tensor that nothing is to be done with otherwise.
        condition: Boolean scalar.
        message: What is said otherwise; `received` follows it.
        received: Scalar.

    Raises:
        ValueError: when it does not hold; where a graph runs outside of `readable_errors`,
            TensorFlow's own InvalidArgumentError.
    """
    if tf.executing_eagerly():
        if not condition:
            raise ValueError(message + str(np.asarray(received)))
        return x
    data = [_BEGIN + message, received, _END]
    with tf.control_dependencies([tf.debugging.Assert(condition, data)]):
        return keras.tree.map_structure(tf.identity, x)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """A scope in which the error of a `require` is a ValueError that says just its message."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        ours = _MESSAGE.search(error.message)
        if ours is None:
            raise
        raise ValueError(ours[1] + ours[2]) from None
