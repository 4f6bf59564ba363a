"""Conversion of users' values to tensors of real numbers, with errors that name the argument."""

from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

# A tensor of Keras' backend, symbolic or not, or an array: they have no type in common. Shapes and
# dtypes are in the docstrings.
Tensor: TypeAlias = Any


# Many functions of Keras 3.15 turn float64 into float32, except on TensorFlow. The next three keep
# it on all backends.


def _is_double(x: Tensor) -> bool:
    return keras.backend.standardize_dtype(x.dtype) == "float64"


def at_least(x: Tensor, limit: Tensor) -> Tensor:
    """Returns the maximum of `x` and a limit, a number or a tensor, in the dtype of `x`."""
    return ops.where(x < limit, limit, x) if _is_double(x) else ops.maximum(x, limit)


def at_most(x: Tensor, limit: Tensor) -> Tensor:
    """Returns the minimum of `x` and a limit, a number or a tensor, in the dtype of `x`."""
    return ops.where(x > limit, limit, x) if _is_double(x) else ops.minimum(x, limit)


def mean(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Returns the mean over an axis, or of all entries, in the dtype of `x`."""
    if not _is_double(x):
        return ops.mean(x, axis=axis, keepdims=keepdims)
    total = ops.sum(x, axis=axis, keepdims=keepdims)
    count = ops.size(x) if axis is None else ops.shape(x)[axis]
    return total / ops.cast(count, "float64")


def real_tensor(
    name: str, value: Any, expected: str, dtype: Any = None, floats: bool = False
) -> Tensor:
    """Returns `value` as a tensor of real numbers.

    Args:
        name: Name of the argument.
        value: A tensor, an array, or nested lists of numbers.
        expected: What the value must be, for the message.
        dtype: The dtype of the result. Default: the dtype of `value`.
        floats: Whether to refuse integers. Embeddings are never integers, labels are.

    Raises:
        ValueError: if `value` is not an array of real numbers.
    """
    try:
        # NumPy reads a list as float64; `dtype` is applied below.
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
