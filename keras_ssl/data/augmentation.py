"""Random augmentations of whole batches, with separate draws for every image.

Keras 3.15's layers of the same names crop and blur all images of a batch in the same way, halve
some probabilities, and do not repeat under a seed in a parallel `tf.data` map. These are stateless
functions of images and a seed, wrapped as layers.

The draws (`draw`, in `draws.py`, without a backend) are separate from their use. All draws of a
policy are columns of one table of numbers, which has one row for each image. There are two uses,
whose results are the same to rounding: `augment` changes a batch by TensorFlow, in a graph, inside
a model or under XLA; `augment_each` changes one image by OpenCV, which is several times as fast on
a CPU (`one_by_one.py`), and is what `make_views` does.

Integer images are bytes, 0 to 255; float images lie in [0, 1]; the output is float32 in [0, 1]. (A
functional Keras model hands bytes over as floats up to 255 unless its input says
`keras.layers.Input(shape, dtype="uint8")`.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.ops import convert_to_numpy

from keras_ssl import _renames
from keras_ssl._backend import is_traced
from keras_ssl._config import with_own_arguments
from keras_ssl._keras import functions_of_tensorflow, not_translated
from keras_ssl._require import require
from keras_ssl._tensorflow import is_tensor, tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import (
    check_count,
    check_fraction,
    check_non_negative,
    check_optional_seed,
    check_positive,
)
from keras_ssl.data import draws, one_by_one
from keras_ssl.replicas import replica_id

# Changes one image of a batch: its number and pixels in, new pixels out.
OneByOne = Callable[[int, np.ndarray], np.ndarray]

# Rounding lets resized images overshoot; outputs are clipped.
_SLACK = 1e-3
# Luma, ITU-R BT.601: the weights of PIL's and torchvision's grayscale.
_LUMA = np.array([0.299, 0.587, 0.114], "float32")
_GRAY = np.stack([_LUMA] * 3)
# RGB to YIQ: there, a change of hue is a rotation of the last two axes.
_YIQ = np.array(
    [_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], "float32"
)


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
    dtype, fn = _dtype(images), functions_for(images)
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


def _dtype(images: Tensor) -> str:
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


def check_channels_are_known(images: Tensor) -> None:
    """Raises in a graph that does not know whether images have colors."""
    if images.shape[-1] is None:
        raise ValueError(
            "`images` must have a known number of channels: decode them with channels=3, or say it "
            f"with tf.ensure_shape. Received: shape={tuple(images.shape)}"
        )


def _in_range(images: Tensor, is_integer: bool) -> Tensor:
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
            kwargs["seed"] = _whole_numbers(kwargs["seed"])
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
        dtype = _dtype(images)
        images = to_unit_floats(images)
        check_batch(images)
        return images if dtype == "uint8" else _in_range(images, keras.backend.is_int_dtype(dtype))

    def drawn(self, images: Tensor, seed: Any = None, places: Tensor = None) -> dict[str, Tensor]:
        """Returns what is drawn for a batch of images; see the class for the arguments."""
        seed = self._next_seed() if seed is None else _whole_numbers(seed)
        n, *size = (_static(images, axis) for axis in range(3))
        if not is_traced(images):  # TensorFlow would take fifty times as long as NumPy.
            key = draws.key([_number(one) for one in seed])
            rows = np.arange(n, dtype="int32") if places is None else convert_to_numpy(places)
            drawn = self.draw_all(draws.numbers(key, rows, 1 + self.draw_count), size, np)
            is_torch = keras.backend.backend() == "torch" and not is_tensor(images)
            convert = keras.ops.convert_to_tensor  # PyTorch does not compute with NumPy's arrays.
            return keras.tree.map_structure(convert, drawn) if is_torch else drawn
        fn = functions_for(images)
        if places is None:
            places = fn.arange(n, dtype="int32")
        if is_tensor(images):
            numbers = _numbers_in_tensorflow(seed, places, 1 + self.draw_count)
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


def _number(x: Any) -> int:
    return int(keras.ops.convert_to_numpy(x)) if hasattr(x, "dtype") else int(x)


def _numbers_in_tensorflow(seed: Any, places: Tensor, count: int) -> Tensor:
    """Returns numbers in [0, 1) for images at places, float32 (n, count); see `draws.numbers`."""
    if not is_tensor(seed):
        xp = functions_of_tensorflow()
        seed = tf.concat([draws.word(number, xp) for number in seed], axis=0)
    words = tuple(tf.unstack(seed))
    numbers = _numbers_of_a_graph()(words, tf.convert_to_tensor(places), tf.constant(count))
    return tf.ensure_shape(numbers, (None, count))


@functools.cache
def _numbers_of_a_graph() -> Any:
    """A function of words, places and a count, as `_numbers_in_tensorflow` calls it."""

    # Traced once for all graphs: it has hundreds of operations, which takes a tenth of a second.
    @tf.function(autograph=False, reduce_retracing=True)
    def numbers(words: tuple[Tensor, ...], places: Tensor, count: Tensor) -> Tensor:
        xp = functions_of_tensorflow()
        return draws.numbers(draws.key(words, xp), places, count, xp)

    return numbers


def _static(images: Tensor, axis: int) -> Tensor:
    """Returns the length of an axis: a number where it is known, else a tensor."""
    return images.shape[axis] or functions_for(images).shape(images)[axis]


def _down_the_columns(matrix: Tensor, images: Tensor) -> Tensor:
    """Multiplies each column of each image by a matrix, (N or 1, out, height)."""
    fn = functions_for(images)
    n, height, width, channels = (_static(images, axis) for axis in range(4))
    columns = fn.reshape(images, (n, height, width * channels))
    return fn.reshape(matrix @ columns, (n, _static(matrix, 1), width, channels))


def _multiply(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
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


def resize_boxes(images: Tensor, boxes: Tensor, size: Sequence[Any]) -> Tensor:
    """Cuts rectangles out of images and resizes them, as torchvision and Pillow do.

    A pixel is an area. An output pixel is a weighted mean of the input pixels of its rectangle. The
    weights are a triangle that reaches the width of one output pixel to either side, or of one
    input pixel where those are wider (bilinear, antialiased). Each result is A X B^T, and the rows
    of A and B are the weights.

    Args:
        images: float32 (N, height, width, channels).
        boxes: (top, left, height, width) in pixels, int32 (N, 4), or (1, 4) for all images.
        size: (height, width) of the result.

    Returns:
        float32 (N, *size, channels).
    """
    xp = functions_for(images)
    boxes = xp.cast(boxes, "float32")[:, None, None]
    top, left, height, width = (boxes[..., i] for i in range(4))
    rows = one_by_one.triangles(top, height, _static(images, 1), size[0], xp)
    columns = one_by_one.triangles(left, width, _static(images, 2), size[1], xp)
    return _multiply(rows, images, columns)


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomResizedCrop(Augmentation):
    """Cuts a random rectangle out of each image and resizes it.

    The rectangle is drawn as torchvision draws it. Its area, as a fraction of the image's, is
    uniform in `scale`; its aspect ratio is log-uniform in `ratio`; its sides and corners are whole
    pixels. If none of ten tries fits the image, it is the largest central rectangle whose ratio is
    allowed (for a square image, the whole image). Resizing is bilinear and antialiased (published
    codes: bicubic).

    Args:
        size: (height, width) of the result, whole numbers above zero. `None` keeps the size of the
            images.
        scale: Range of the area, in (0, 1]. Default (0.08, 1): SimCLR, BYOL, VICReg.
        ratio: Range of width over height. Default (3/4, 4/3): SimCLR, BYOL, VICReg.
        **kwargs: See `Augmentation`. An image that is not chosen is resized as a whole.

    Example:
        A square of a quarter of the area of 4 x 4 pixels is 2 x 2 pixels, here not resized.

        >>> import numpy as np
        >>> images = np.arange(16).reshape(1, 4, 4, 1) / 16
        >>> crop = RandomResizedCrop((2, 2), scale=(0.25, 0.25), ratio=(1, 1))
        >>> print(16 * np.asarray(crop(images, seed=(0, 2)))[0, :, :, 0])
        [[1. 2.]
         [5. 6.]]
    """

    draw_count = draws.CROP_NUMBERS

    def __init__(
        self,
        size: Sequence[int] | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = None if size is None else _check_size(size)
        self.scale = _check_range("scale", scale, upper=1.0)
        self.ratio = _check_range("ratio", ratio)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        return {"boxes": draws.crop_boxes(numbers, size, self.scale, self.ratio, xp)}

    def leave(self, images: Tensor) -> Tensor:  # noqa: D102
        if self.size is None or self.size == tuple(images.shape[1:3]):
            return images
        whole = functions_for(images).stack([0, 0, *(_static(images, axis) for axis in (1, 2))])
        return resize_boxes(images, whole[None], self.size)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        size = self.size or [_static(images, axis) for axis in (1, 2)]
        return resize_boxes(images, drawn["boxes"], size)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        boxes = drawn["boxes"].tolist()
        return lambda i, image: one_by_one.resize_box(image, boxes[i], self.size)

    def leave_each(self) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.resize_box(image, None, self.size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        size = tuple(input_shape[1:3]) if self.size is None else self.size
        return (input_shape[0], *size, input_shape[3])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "size": self.size, "scale": self.scale, "ratio": self.ratio}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomFlip(Augmentation):
    """Mirrors images left to right.

    Args:
        probability: Fraction of the images that are mirrored. Default 0.5.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> images = np.array([0.0, 0.5, 1.0]).reshape(1, 1, 3, 1)
        >>> print(np.asarray(RandomFlip(probability=1.0)(images)).ravel())
        [1.  0.5 0. ]
    """

    def __init__(self, probability: float = 0.5, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        return functions_for(images).flip(images, axis=2)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.flip(image)


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomColorJitter(Augmentation):
    """Changes brightness, contrast, saturation and hue of each image at random.

    The factors of brightness, contrast and saturation of strength s are uniform in
    `[max(0, 1 - s), 1 + s]`. The hue turns by a fraction of the circle that is uniform in
    `[-hue, hue]`. The change of hue is a rotation in YIQ, which keeps the luma; torchvision turns
    the hue of HSV. In YIQ all four are linear maps that commute, so that one 3x3 matrix and one
    offset per image are enough, with one clip to [0, 1]. With HSV and a clip after each, they would
    not quite commute, and therefore torchvision applies them in random order.

    Saturation and hue are only defined for 3 channels. Other images get brightness and contrast.

    Args:
        brightness: Strength, at least 0. Default 0.4: Table S1 of the duality paper (BYOL).
        contrast: Strength, at least 0. Default 0.4.
        saturation: Strength, at least 0. Default 0.2.
        hue: Largest turn, in [0, 0.5]. Default 0.1.
        probability: Fraction of the images that are changed. Default 0.8.
        **kwargs: See `Augmentation`.

    Example:
        Brightness multiplies all pixels of an image by one factor, so that their ratio stays.

        >>> import numpy as np
        >>> images = np.array([0.25, 0.5]).reshape(1, 1, 2, 1)
        >>> jitter = RandomColorJitter(0.4, contrast=0, saturation=0, hue=0, probability=1.0)
        >>> dark, bright = np.asarray(jitter(images)).ravel()
        >>> print(f"{bright / dark:.3f}")
        2.000
    """

    draw_count = 4

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        probability: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, **kwargs)
        self.brightness = check_non_negative("brightness", brightness)
        self.contrast = check_non_negative("contrast", contrast)
        self.saturation = check_non_negative("saturation", saturation)
        self.hue = check_non_negative("hue", hue)
        if self.hue > 0.5:
            raise ValueError(f"`hue` must be at most 0.5, half the circle. Received: hue={hue!r}")

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        strengths = {
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
        }
        factors = {
            name: draws.uniform(numbers[:, i], max(0.0, 1 - strength), 1 + strength, xp)
            for i, (name, strength) in enumerate(strengths.items())
        }
        return {**factors, "hue": draws.uniform(numbers[:, 3], -self.hue, self.hue, xp)}

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        fn = functions_for(images)
        gain, pull, colors = self._maps(drawn, images.shape[3], fn)
        offset = pull * fn.reshape(gray(fn.mean(images, axis=(1, 2))), (-1,))
        shape = [_static(images, axis) for axis in range(4)]
        pixels = fn.reshape(images, (shape[0], -1, shape[3]))
        if colors is None:
            pixels = gain[:, None, None] * pixels
        else:
            pixels = pixels @ fn.transpose(gain[:, None, None] * colors, (0, 2, 1))
        return fn.reshape(fn.clip(pixels + offset[:, None, None], 0, 1), shape)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        gain, pull, colors = self._maps(drawn, 3, np)
        affine = np.zeros((len(gain), 3, 4), "float32")
        affine[:, :, :3] = gain[:, None, None] * (np.eye(3) if colors is None else colors)
        gain, pull, luma = gain.tolist(), pull.tolist(), _LUMA.tolist()

        def change(i: int, image: np.ndarray) -> np.ndarray:
            offset = pull[i] * one_by_one.mean_luma(image, luma)
            if image.shape[2] != 3:
                return one_by_one.scale(image, gain[i], offset)
            affine[i, :, 3] = offset
            return one_by_one.map_colors(image, affine[i])

        return change

    def _maps(self, drawn: dict[str, Any], channels: int, xp: Any) -> tuple[Any, Any, Any]:
        """Returns what makes an image x into clip(gain * colors x + pull * mean luma of x).

        Contrast moves toward the mean luma of the image, taken before brightness scales both.

        Args:
            drawn: What `draw` returned.
            channels: Number of channels of the images.
            xp: See `draw`.

        Returns:
            gain (N,); pull (N,); colors, (N, 3, 3), or `None` if colors stay as they are.
        """
        gain = drawn["brightness"] * drawn["contrast"]
        pull = drawn["brightness"] - gain
        if channels != 3 or not (self.saturation or self.hue):
            return gain, pull, None
        angle = drawn["hue"] * 2 * np.pi
        cos, sin = (drawn["saturation"] * f(angle) for f in (xp.cos, xp.sin))
        one, zero = xp.ones_like(cos), xp.zeros_like(cos)
        rows = (one, zero, zero), (zero, cos, -sin), (zero, sin, cos)
        rotation = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=1)  # (N, 3, 3)
        to_yiq, from_yiq = (xp.array(x, "float32") for x in (_YIQ, np.linalg.inv(_YIQ)))
        return gain, pull, from_yiq @ rotation @ to_yiq

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }


def gray(images: Tensor) -> Tensor:
    """Returns the luma of 3 channels, else the mean of all, (..., 1)."""
    check_channels_are_known(images)
    if images.shape[-1] == 3:
        # A product of matrices takes a quarter of the time of a sum over so short an axis.
        return functions_for(images).tensordot(images, _LUMA[:, None], 1)
    return functions_for(images).mean(images, axis=-1, keepdims=True)


@_renames.old_names
@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGrayscale(Augmentation):
    """Sets all channels of an image to its luma, which removes its colors.

    Args:
        probability: Fraction of the images that become gray. Default 0.2: SimCLR, BYOL, VICReg.
        **kwargs: See `Augmentation`.

    Example:
        The luma of pure red is 0.299.

        >>> import numpy as np
        >>> red = np.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> print(np.asarray(RandomGrayscale(probability=1.0)(red)).ravel())
        [0.299 0.299 0.299]
    """

    def __init__(self, probability: float = 0.2, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        shape = [_static(images, axis) for axis in range(4)]
        return functions_for(images).broadcast_to(gray(images), shape)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        def change(i: int, image: np.ndarray) -> np.ndarray:
            if image.shape[2] == 3:
                return one_by_one.map_colors(image, _GRAY)
            return one_by_one.average(image)

        return change


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGaussianBlur(Augmentation):
    """Blurs each image with a Gaussian whose width is drawn for that image.

    The blur is separable and linear: rows and columns are each multiplied by a matrix of Gaussian
    weights that sum to one, `B X B^T`. The kernel is not cut off (published codes: 23 pixels at
    224), and is renormalized at the borders.

    Args:
        sigma: Range of the standard deviation, which is uniform, in pixels. Default (0.1, 2):
            SimCLR, BYOL and VICReg, at 224 pixels.
        probability: Fraction of the images that are blurred. Default 0.5: SimCLR.
        **kwargs: See `Augmentation`.

    Example:
        With sigma 1, a pixel beside a bright one becomes `exp(-1 / 2)` times as bright.

        >>> import numpy as np
        >>> images = np.zeros((1, 17, 17, 1))
        >>> images[0, 8, 8] = 1
        >>> blurred = np.asarray(RandomGaussianBlur(sigma=(1, 1), probability=1.0)(images))
        >>> print(f"{blurred[0, 8, 9, 0] / blurred[0, 8, 8, 0]:.3f} = {np.exp(-1 / 2):.3f}")
        0.607 = 0.607
    """

    draw_count = 1

    def __init__(
        self, sigma: Sequence[float] = (0.1, 2.0), probability: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.sigma = _check_range("sigma", sigma)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        low, high = self.sigma
        return {"sigma": draws.uniform(numbers[:, 0], low, high, xp)}

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        fn = functions_for(images)
        sigma = fn.reshape(drawn["sigma"], (-1, 1, 1))

        def blur_matrix(axis: int) -> Tensor:
            position = fn.arange(_static(images, axis), dtype="float32")
            distance = position[:, None] - position[None, :]
            weights = fn.exp(-fn.square(distance / sigma) / 2)  # (N, size, size)
            return weights / fn.sum(weights, axis=-1, keepdims=True)

        return _multiply(blur_matrix(1), images, blur_matrix(2))

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        sigma = drawn["sigma"].tolist()
        return lambda i, image: one_by_one.blur(image, sigma[i])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomSolarize(Augmentation):
    """Inverts the bright part of each image: x becomes 1 - x where x >= threshold.

    Args:
        probability: Fraction of the images that are changed. Default 0.2: the second view of BYOL
            and VICReg.
        threshold: In [0, 1]. Default 128/255: the published codes.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> images = np.array([0.25, 0.75, 1.0]).reshape(1, 1, 3, 1)
        >>> print(np.asarray(RandomSolarize(probability=1.0)(images)).ravel())
        [0.25 0.25 0.  ]
    """

    def __init__(
        self, probability: float = 0.2, threshold: float = 128 / 255, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.threshold = check_fraction("threshold", threshold)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        # This takes half the time that `tf.where` takes.
        is_bright = functions_for(images).cast(images >= self.threshold, images.dtype)
        return images + is_bright * (1 - 2 * images)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.solarize(image, self.threshold)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_ssl")
class Compose(Augmentation):
    """Applies augmentations one after the other, each with its own draws.

    Args:
        augmentations: Sequence of `Augmentation`.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> images = np.array([0.0, 0.25, 1.0]).reshape(1, 1, 3, 1)
        >>> both = Compose([RandomFlip(probability=1.0), RandomSolarize(probability=1.0)])
        >>> print(np.asarray(both(images)).ravel())
        [0.   0.25 0.  ]
    """

    def __init__(self, augmentations: Sequence[Augmentation], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(augmentations, (list, tuple)):
            raise TypeError(
                "`augmentations` must be a list of keras_ssl.data augmentations. "
                f"Received: augmentations={augmentations!r}"
            )
        self.augmentations = [check_augmentation("augmentations", a) for a in augmentations]

    @property
    def draw_count(self) -> int:  # type: ignore[override]  # noqa: D102
        return sum(1 + augmentation.draw_count for augmentation in self.augmentations)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:
        """Returns what each augmentation draws, in order, as "draws"."""
        drawn = []
        for augmentation in self.augmentations:
            count = 1 + augmentation.draw_count
            drawn.append(augmentation.draw_all(numbers[:, :count], size, xp))
            numbers = numbers[:, count:]
            size = augmentation.compute_output_shape((None, *size, None))[1:3]
        return {"draws": drawn}

    def leave(self, images: Tensor) -> Tensor:  # noqa: D102
        for augmentation in self.augmentations:
            images = augmentation.leave(images)
        return images

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        for augmentation, draw in zip(self.augmentations, drawn["draws"], strict=True):
            images = augmentation.apply(images, draw)
        return images

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        pairs = zip(self.augmentations, drawn["draws"], strict=True)
        return _one_after_the_other([a.apply_each(draw) for a, draw in pairs])

    def leave_each(self) -> OneByOne:  # noqa: D102
        return _one_after_the_other([a.leave_each() for a in self.augmentations])

    @property
    def goes_one_by_one(self) -> bool:  # noqa: D102
        return super().goes_one_by_one and all(a.goes_one_by_one for a in self.augmentations)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        for augmentation in self.augmentations:
            input_shape = augmentation.compute_output_shape(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialized = [keras.saving.serialize_keras_object(a) for a in self.augmentations]
        return {**super().get_config(), "augmentations": serialized}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Compose:  # noqa: D102
        config = dict(config)
        config["augmentations"] = [
            keras.saving.deserialize_keras_object(a) for a in config["augmentations"]
        ]
        return cls(**config)


def _one_after_the_other(changes: Sequence[OneByOne]) -> OneByOne:
    """Returns a function that changes an image by each of several in turn."""

    def change(i: int, image: np.ndarray) -> np.ndarray:
        for part in changes:
            image = part(i, image)
        return image

    return change


def check_augmentation(name: str, value: Any) -> Augmentation:
    """Returns `value`, or raises if it is not an `Augmentation`."""
    if not isinstance(value, Augmentation) or value.gives_views:
        raise TypeError(
            f"`{name}` must be keras_ssl.data augmentations that make one view. Received: {value!r}"
        )
    return value


def _check_size(size: Any) -> tuple[int, int]:
    """Returns (height, width) as ints, or raises unless they are two whole numbers above zero."""
    if isinstance(size, (str, bytes)) or not hasattr(size, "__len__") or len(size) != 2:
        raise ValueError(
            f"`size` must be two whole numbers (height, width), or None. Received: size={size!r}"
        )
    height, width = (check_count("size", side) for side in size)
    return height, width


def _whole_numbers(seed: Any) -> Tensor:
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
    return [number if is_traced(number) else _number(number) for number in numbers]


def whole_words(seed: Any) -> Tensor:
    """Returns the lower 32 bits of the numbers of a call's `seed`, int32 (k,)."""
    numbers = _whole_numbers(seed)
    return numbers if is_tensor(numbers) else np.concatenate([draws.word(n) for n in numbers])


def _is_whole(value: Any) -> bool:
    if is_tensor(value) or keras.ops.is_tensor(value):
        return keras.backend.is_int_dtype(_dtype(value)) and len(value.shape) == 0
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.ndarray))


def _check_range(name: str, value: Sequence[float], upper: float | None = None) -> tuple:
    """Returns (low, high) as floats, or raises unless positive, ordered and at most `upper`."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != 2:
        raise ValueError(f"`{name}` must be two numbers (low, high). Received: {name}={value!r}")
    low, high = (check_positive(name, v) for v in value)
    if low > high or (upper is not None and high > upper):
        limit = "" if upper is None else f", at most {upper}"
        raise ValueError(f"`{name}` must be (low, high), low <= high{limit}. Received: {value!r}")
    return (low, high)
