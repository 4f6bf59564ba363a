"""Values from the outside as tensors of real numbers, or a message that names the argument."""

from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

# A tensor of Keras' backend, symbolic or not, or an array: they have no type in common. Shapes and
# dtypes are in the docstrings.
Tensor: TypeAlias = Any


def real_tensor(
    name: str, value: Any, expected: str, dtype: Any = None, floats: bool = False
) -> Tensor:
    """`value` as a tensor of real numbers.

    Args:
        name: Name of the argument.
        value: A tensor, an array, or nested lists of numbers.
        expected: What it must be, for the message.
        dtype: Its dtype in the end. Default: its own.
        floats: Whether integers are refused: embeddings are none, labels are.

    Raises:
        ValueError: for anything that is no array of real numbers.
    """
    try:
        # A list is float64 until its dtype is chosen.
        own_dtype = value if hasattr(value, "dtype") else np.asarray(value)
        tensor = ops.convert_to_tensor(own_dtype)
        own = keras.backend.standardize_dtype(tensor.dtype)
        is_real = keras.backend.is_float_dtype(own) or (
            not floats and keras.backend.is_int_dtype(own)
        )
    except (ValueError, TypeError, KeyError):
        tensor, own, is_real = None, type(value).__name__, False
    if not is_real:
        numbers = "floats" if floats else "real numbers"
        raise ValueError(f"`{name}` must be {expected}, of {numbers}. Received: {own}")
    return tensor if dtype is None else ops.cast(tensor, dtype)
