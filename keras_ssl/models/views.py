"""Checks of views. A view is a batch of images, or any other Keras structure except a tuple."""

from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl.encoders import check_images


def is_shape(shape: Any) -> bool:
    """Whether this is the shape of one array, rather than a structure of shapes."""
    return isinstance(shape, (tuple, list)) and all(
        size is None or isinstance(size, int) for size in shape
    )


def is_tuple_of_shapes(shapes: Any) -> bool:
    """Whether these are the shapes of several views."""
    return isinstance(shapes, tuple) and not is_shape(shapes)


def is_of_images(shape: Any) -> bool:
    """Whether a view of this shape is a batch of images, (N, height, width, channels)."""
    return is_shape(shape) and len(shape) == 4


def check_fits(encoder: keras.layers.Layer, shape: Any) -> None:
    """Raises a `ValueError` if a view of this shape does not fit the encoder.

    Args:
        encoder: The encoder.
        shape: A shape, or a structure of shapes. Keras itself checks anything but images.
    """
    inputs = getattr(encoder, "inputs", None)
    if inputs and (len(inputs) > 1 or len(inputs[0].shape) != 4):
        return
    if is_of_images(shape) or (is_shape(shape) and inputs):
        check_images(encoder, tuple(shape))


def check_is_float(view: Any) -> None:
    """Raises a `ValueError` if images are not floats."""
    if not hasattr(view, "shape") or len(view.shape) != 4:
        return
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(view.dtype)):
        raise ValueError(
            f"Images must be floats in [0, 1]: divide bytes by 255. Received: dtype={view.dtype}"
        )


def symbolic(shape: Any, dtype: str) -> Any:
    """Returns symbolic tensors for a view of this shape."""
    if is_shape(shape):
        return keras.KerasTensor(tuple(shape), dtype=dtype)
    if isinstance(shape, dict):
        return {name: symbolic(part, dtype) for name, part in shape.items()}
    return [symbolic(part, dtype) for part in shape]


def as_lists(shape: Any) -> Any:
    """Returns the shapes of a view with lists instead of tuples, as JSON has them."""
    if isinstance(shape, dict):
        return {name: as_lists(part) for name, part in shape.items()}
    if isinstance(shape, (tuple, list)):
        return [as_lists(part) for part in shape]
    return shape


def batch_size(views: Tensor) -> int | None:
    """Returns the number of rows of a structure of arrays, or `None` if it is unknown."""
    return None if views is None else keras.tree.flatten(views)[0].shape[0]
