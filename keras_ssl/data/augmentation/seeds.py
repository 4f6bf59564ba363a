"""The seed of a call, and the numbers that follow from it."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from keras_ssl._backend import is_traced
from keras_ssl._keras import functions_of_tensorflow
from keras_ssl._tensorflow import is_tensor, tf
from keras_ssl._tensors import Tensor
from keras_ssl.data import draws
from keras_ssl.data.augmentation.pixels import dtype_of


def whole_numbers(seed: Any) -> Tensor:
    """Returns the numbers of a call's `seed`: a list, or TensorFlow's int32 tensor (k,).

    The latter if any of them is a tensor of TensorFlow.

    It raises if there are no numbers, or if any is not whole.
    """
    numbers = seed
    if hasattr(seed, "shape") and len(seed.shape) == 1:
        numbers = tf.unstack(seed) if is_tensor(seed) else list(seed)
    if not isinstance(numbers, (list, tuple)) or not numbers or not all(map(_is_whole, numbers)):
        raise ValueError(
            "`seed` must be whole numbers, such as (seed, epoch, step): a sequence of integers, or "
            f"an integer tensor (k,). Received: seed={seed!r}"
        )
    if any(is_tensor(number) for number in numbers):
        xp = functions_of_tensorflow()
        return tf.concat([draws.word(number, xp) for number in numbers], axis=0)
    return [number if is_traced(number) else as_number(number) for number in numbers]


def whole_words(seed: Any) -> Tensor:
    """Returns the lower 32 bits of the numbers of a call's `seed`, int32 (k,)."""
    numbers = whole_numbers(seed)
    return numbers if is_tensor(numbers) else np.concatenate([draws.word(n) for n in numbers])


def _is_whole(value: Any) -> bool:
    if is_tensor(value) or keras.ops.is_tensor(value):
        return keras.backend.is_int_dtype(dtype_of(value)) and len(value.shape) == 0
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.ndarray))


def as_number(x: Any) -> int:
    """Returns a whole number that may be in a tensor as Python's int."""
    return int(keras.ops.convert_to_numpy(x)) if hasattr(x, "dtype") else int(x)


def numbers_in_tensorflow(seed: Any, places: Tensor, count: int) -> Tensor:
    """Returns numbers in [0, 1) for images at places, float32 (n, count); see `draws.numbers`."""
    if not is_tensor(seed):
        xp = functions_of_tensorflow()
        seed = tf.concat([draws.word(number, xp) for number in seed], axis=0)
    words = tuple(tf.unstack(seed))
    numbers = _numbers_of_a_graph()(words, tf.convert_to_tensor(places), tf.constant(count))
    return tf.ensure_shape(numbers, (None, count))


@functools.cache
def _numbers_of_a_graph() -> Any:
    """A function of words, places and a count, as `numbers_in_tensorflow` calls it."""

    # Traced once for all graphs: it has hundreds of operations, which takes a tenth of a second.
    @tf.function(autograph=False, reduce_retracing=True)
    def numbers(words: tuple[Tensor, ...], places: Tensor, count: Tensor) -> Tensor:
        xp = functions_of_tensorflow()
        return draws.numbers(draws.key(words, xp), places, count, xp)

    return numbers
