"""What the augmentations share about images: their range, their axes, their luma."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_ssl._backend import is_traced
from keras_ssl._keras import functions_of_tensorflow
from keras_ssl._require import require
from keras_ssl._tensorflow import is_tensor
from keras_ssl._tensors import Tensor

# Rounding lets resized images overshoot; outputs are clipped.
_SLACK = 1e-3
# Luma, ITU-R BT.601: the weights of PIL's and torchvision's grayscale.
LUMA = np.array([0.299, 0.587, 0.114], "float32")


def to_unit_floats(images: Tensor) -> Tensor:
    """Converts images to float32 in [0, 1].

    Integers are divided by 255. Floats are taken to be in [0, 1] already.

    Args:
        images: uint8 or other integers in [0, 255], or floats in [0, 1], any shape.

    Returns:
        A float32 tensor of the same shape.

    Raises:
        ValueError: for images that are neither integers nor real floats, such as booleans.

    Example:
        >>> import numpy as np
        >>> floats = to_unit_floats(np.array([0, 51, 255], "uint8"))
        >>> print(np.asarray(floats).round(3))
        [0.  0.2 1. ]
    """
    dtype, fn = dtype_of(images), functions_for(images)
    if keras.backend.is_int_dtype(dtype):
        return fn.cast(images, "float32") / 255
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"`images` must be integers in [0, 255] or floats in [0, 1]. Received: dtype={dtype}"
        )
    return fn.cast(images, "float32")


def functions_for(images: Tensor) -> Any:
    """Returns the functions for images: TensorFlow's for its tensors, else those of `keras.ops`.

    The graphs of tf.data are TensorFlow's on any backend of Keras; the steps of training are not.

    Example:
        The functions have NumPy's names.

        >>> import numpy as np
        >>> images = np.array([[0.25, 1.0]])
        >>> print(np.asarray(functions_for(images).flip(images, axis=1)))
        [[1.   0.25]]
    """
    return functions_of_tensorflow() if is_tensor(images) else keras.ops


def dtype_of(images: Tensor) -> str:
    """Returns the name of the dtype of images, also of a list of numbers."""
    if not hasattr(images, "dtype"):
        return str(np.asarray(images).dtype)
    return keras.backend.standardize_dtype(images.dtype)


def check_batch(images: Tensor) -> None:
    """Raises unless images are a batch (N, height, width, channels) with at least one pixel."""
    shape = images.shape
    # In a graph of TensorFlow, the number of axes may be unknown.
    rank = shape.rank if hasattr(shape, "rank") else len(shape)
    if rank != 4 or 0 in tuple(shape):
        raise ValueError(
            "`images` must be a batch (N, height, width, channels), each at least 1. "
            f"Received: shape={shape if rank is None else tuple(shape)}"
        )


def in_range(images: Tensor, is_integer: bool) -> Tensor:
    """Returns unit floats as they are, or raises if any is outside [0, 1]; a graph at its step."""
    fn = functions_for(images)
    low, high = fn.min(images), fn.max(images)  # NaN if any pixel is.
    is_right = fn.logical_and(low >= -_SLACK, high <= 1 + _SLACK)
    if is_integer:
        expected, low, high = "integers in [0, 255]", 255 * low, 255 * high
    else:
        expected = "floats in [0, 1]: divide by 255, or pass bytes"
    message = f"`images` must be {expected}. Received: values "
    if not is_traced(images) and not is_right:
        raise ValueError(f"{message}from {float(low):g} to {float(high):g}")
    return require(images, is_right, f"{message}in ", fn.stack([low, high]))


def length(images: Tensor, axis: int) -> Tensor:
    """Returns the length of an axis: a number where it is known, else a tensor."""
    return images.shape[axis] or functions_for(images).shape(images)[axis]


def gray(images: Tensor) -> Tensor:
    """Returns the luma of 3 channels, else the mean of all, (..., 1)."""
    if images.shape[-1] is None:  # In a graph that does not know whether images have colors.
        raise ValueError(
            "`images` must have a known number of channels: decode them with channels=3, or say it "
            f"with tf.ensure_shape. Received: shape={tuple(images.shape)}"
        )
    if images.shape[-1] == 3:
        # A product of matrices takes a quarter of the time of a sum over so short an axis.
        return functions_for(images).tensordot(images, LUMA[:, None], 1)
    return functions_for(images).mean(images, axis=-1, keepdims=True)


def _down_the_columns(matrix: Tensor, images: Tensor) -> Tensor:
    """Multiplies each column of each image by a matrix, (N or 1, out, height)."""
    fn = functions_for(images)
    n, height, width, channels = (length(images, axis) for axis in range(4))
    columns = fn.reshape(images, (n, height, width * channels))
    return fn.reshape(matrix @ columns, (n, length(matrix, 1), width, channels))


def multiply(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Computes A X B^T for each channel of each image X.

    Args:
        rows: A, (N or 1, new height, height).
        images: X, (N, height, width, channels).
        columns: B, (N or 1, new width, width).

    Returns:
        (N, new height, new width, channels).
    """

    def transpose(x: Tensor) -> Tensor:
        return functions_for(x).transpose(x, (0, 2, 1, 3))

    return transpose(_down_the_columns(columns, transpose(_down_the_columns(rows, images))))
