"""The base class of the augmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.ops import convert_to_numpy

from keras_ssl._backend import is_traced
from keras_ssl._config import with_own_arguments
from keras_ssl._keras import not_translated
from keras_ssl._tensorflow import is_tensor, tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_fraction, check_optional_seed
from keras_ssl.data import draws
from keras_ssl.data.augmentation.pixels import (
    check_batch,
    dtype_of,
    functions_for,
    in_range,
    length,
    to_unit_floats,
)
from keras_ssl.data.augmentation.seeds import as_number, numbers_in_tensorflow, whole_numbers
from keras_ssl.replicas import replica_id

# Changes one image of a batch: its number and pixels in, new pixels out.
OneByOne = Callable[[int, np.ndarray], np.ndarray]


class Augmentation(keras.layers.Layer):
    """Base class of the augmentations.

    A subclass overrides `augment`, also `draw` if it is random, and `augment_each` if it should be
    fast on a CPU. If its constructor has arguments of its own, it stores each under its own name,
    or overrides `get_config`.

    Args:
        probability: Fraction of the images that are changed, in [0, 1].
        seed: Seed of the layer's own draws, for use inside a model: a whole number from 0 to
            2^31 - 1. `None` draws a seed. A call with `seed=` does not use it.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        images: (N, height, width, channels), integers in [0, 255] or floats in [0, 1]. Floats may
            lie outside by 0.001, as resized images do.
        training: `False` leaves the images as they are (as floats in [0, 1]; a crop resizes them).
        seed: Whole numbers that decide all draws, such as (seed, step) or (seed, epoch, step), for
            `tf.data`: a sequence of integers and scalar tensors, or an integer tensor (k,). Each
            counts modulo 2^32. By default the layer uses the next of its own seeds, which differ
            between replicas.
        places: Place of each image in the whole batch, int32 (N,), which its draws follow from.
            Default: 0 to N - 1.

    Returns:
        float32 in [0, 1], (N, height, width, channels).

    Raises:
        ValueError: for images that are not a batch of rank 4, or are empty; for values that are NaN
            or outside their range (in a graph, at the step that meets them; see
            `keras_ssl._require`); for a `seed` that does not consist of whole numbers.

    Example:
        The seed of a call decides which images are changed.

        >>> import numpy as np
        >>> class Invert(Augmentation):
        ...     def augment(self, images, drawn):
        ...         return 1 - images
        >>> invert, black = Invert(probability=0.5), np.zeros((6, 1, 1, 1))
        >>> print(np.asarray(invert(black, seed=(0, 1))).ravel())
        [1. 1. 1. 0. 0. 1.]
        >>> print(np.asarray(invert(black, seed=(0, 2))).ravel())
        [1. 0. 1. 1. 0. 0.]
    """

    # Whether a call returns several views; if so, it cannot be part of another augmentation.
    gives_views = False
    # How many numbers in [0, 1) `draw` needs for each image.
    draw_count = 0

    def __init__(self, probability: float = 1.0, seed: int | None = None, **kwargs: Any) -> None:
        # Images stay float32 under any dtype policy: half precision would show in the colors.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.probability = check_fraction("probability", probability)
        self.seed = check_optional_seed("seed", seed)
        self._generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:
        """Computes the random quantities of each image from uniform numbers; see `draws.py`.

        Args:
            numbers: Uniform in [0, 1), float32 (N, `draw_count`).
            size: (height, width) of the images.
            xp: NumPy, or another namespace with NumPy's names, which does the computing.

        Returns:
            Arrays by name, each with one row for each image.
        """
        return {}

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Changes all images, float32, by what `draw` returned."""
        raise NotImplementedError

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:
        """Returns a function that changes one image of a batch as `augment` changes all.

        It is for the CPU: on single images OpenCV is several times as fast as TensorFlow on
        batches. The function gets the number of the image in the batch and the image, float32
        (height, width, channels), which it must not change in place, and returns another array.
        A subclass that overrides `augment` alone is applied by TensorFlow; see `goes_one_by_one`.

        Args:
            drawn: What `draw_all` returned, computed by NumPy.
        """
        raise NotImplementedError

    @property
    def goes_one_by_one(self) -> bool:
        """Whether `augment_each` does what `augment` does: no subclass has changed one alone."""

        def owner(name: str) -> type:
            return next(c for c in type(self).__mro__ if name in vars(c))

        forms = ("augment_each", "augment"), ("leave_each", "leave"), ("apply_each", "apply")
        others = (("augment_each", name) for name in ("call", "checked", "drawn"))
        return owner("augment_each") is not Augmentation and all(
            issubclass(owner(each), owner(all_)) for each, all_ in (*forms, *others)
        )

    def leave_each(self) -> OneByOne:
        """Returns a function that does to one image what `leave` does to all."""
        return lambda i, image: image

    def leave(self, images: Tensor) -> Tensor:
        """Returns images that are not augmented, in the output's size."""
        return images

    def draw_all(self, numbers: Tensor, size: Sequence[Any], xp: Any = np) -> dict[str, Tensor]:
        """Adds "is_chosen" to what `draw` returns: bool (N,), which images are changed.

        Args:
            numbers: Uniform in [0, 1), float32 (N, 1 + `draw_count`).
            size: (height, width) of the images.
            xp: See `draw`.
        """
        is_chosen = numbers[:, 0] < self.probability
        return {"is_chosen": is_chosen, **self.draw(numbers[:, 1:], size, xp)}

    def apply(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Changes the chosen ones of images, unit floats, by what `draw_all` returned."""
        if self.probability == 0:
            return self.leave(images)
        changed = self.augment(images, drawn)
        if self.probability == 1:
            return changed
        if is_tensor(changed):
            # One condition for each row takes a tenth of the time that `tf.where` takes.
            return tf.compat.v1.where(drawn["is_chosen"], changed, self.leave(images))
        is_chosen = keras.ops.reshape(drawn["is_chosen"], (-1, 1, 1, 1))
        return keras.ops.where(is_chosen, changed, self.leave(images))

    def apply_each(self, drawn: dict[str, Any]) -> OneByOne:
        """Returns a function that changes one image of a batch as `apply` changes all."""
        change = self.augment_each(drawn)
        if self.probability == 1:
            return change
        leave, is_chosen = self.leave_each(), drawn["is_chosen"].tolist()
        return lambda i, image: change(i, image) if is_chosen[i] else leave(i, image)

    @not_translated  # In the graphs of tf.data, on every backend.
    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: D102
        # Keras would refuse numbers beside tensors, and turns NumPy's numbers into tensors.
        if kwargs.get("seed") is not None:
            kwargs["seed"] = whole_numbers(kwargs["seed"])
        images = args[0] if args else kwargs.get("images")
        if is_tensor(images) and keras.backend.backend() != "tensorflow":
            return self.call(*args, **kwargs)  # Keras would turn them into tensors of its backend.
        return super().__call__(*args, **kwargs)

    def call(  # noqa: D102
        self, images: Tensor, training: bool = True, seed: Any = None, places: Tensor = None
    ) -> Tensor:
        images = self.checked(images)
        if training:
            views = self.apply(images, self.drawn(images, seed, places))
        else:
            views = self.leave(images)
        return keras.tree.map_structure(lambda view: functions_for(view).clip(view, 0, 1), views)

    def checked(self, images: Tensor) -> Tensor:
        """Returns a batch of images as floats in [0, 1], or raises; see the class."""
        dtype = dtype_of(images)
        images = to_unit_floats(images)
        check_batch(images)
        return images if dtype == "uint8" else in_range(images, keras.backend.is_int_dtype(dtype))

    def drawn(self, images: Tensor, seed: Any = None, places: Tensor = None) -> dict[str, Tensor]:
        """Returns what is drawn for a batch of images; see the class for the arguments."""
        seed = self._next_seed() if seed is None else whole_numbers(seed)
        n, *size = (length(images, axis) for axis in range(3))
        if not is_traced(images):  # TensorFlow would take fifty times as long as NumPy.
            key = draws.key([as_number(one) for one in seed])
            rows = np.arange(n, dtype="int32") if places is None else convert_to_numpy(places)
            drawn = self.draw_all(draws.numbers(key, rows, 1 + self.draw_count), size, np)
            is_torch = keras.backend.backend() == "torch" and not is_tensor(images)
            convert = keras.ops.convert_to_tensor  # PyTorch does not compute with NumPy's arrays.
            return keras.tree.map_structure(convert, drawn) if is_torch else drawn
        fn = functions_for(images)
        if places is None:
            places = fn.arange(n, dtype="int32")
        if is_tensor(images):
            numbers = numbers_in_tensorflow(seed, places, 1 + self.draw_count)
        else:
            numbers = draws.numbers(draws.key(seed, fn), places, 1 + self.draw_count, fn)
        return self.draw_all(numbers, size, fn)

    def _next_seed(self) -> list[Tensor]:
        # Keras mirrors the generator's state: without its number, each replica would draw the same.
        state = self._generator.next()
        return [state[0], state[1], replica_id()]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        config = {**super().get_config(), "probability": self.probability, "seed": self.seed}
        return with_own_arguments(self, config)


def check_augmentation(name: str, value: Any) -> Augmentation:
    """Returns `value`, or raises if it is not an `Augmentation`."""
    if not isinstance(value, Augmentation) or value.gives_views:
        raise TypeError(
            f"`{name}` must be keras_ssl.data augmentations that make one view. Received: {value!r}"
        )
    return value
