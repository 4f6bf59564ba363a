"""Random augmentations of whole batches, with draws of their own for every image.

Keras 3.15's layers of the same names crop and blur a whole batch alike, halve some probabilities,
and do not repeat under a seed in a parallel `tf.data` map; these are stateless functions of images
and a seed, wrapped as layers. They run on TensorFlow, in `tf.data` or inside a model.

Convention: integer images are bytes, 0 to 255; float images lie in [0, 1]; what comes out is
float32 in [0, 1]. (A functional Keras model hands bytes over as floats up to 255 unless its input
says `keras.layers.Input(shape, dtype="uint8")`.)
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ssl import distribution
from keras_ssl._validation import check_fraction, check_non_negative, check_positive

# Luma, ITU-R BT.601: what PIL and torchvision make grey with.
_LUMA = np.array([0.299, 0.587, 0.114], "float32")
# RGB to YIQ, in which a change of hue is a rotation of the last two axes.
_YIQ = np.array(
    [_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], "float32"
)


def to_unit_floats(images: Any) -> Any:
    """Images as float32 in [0, 1]: bytes are divided by 255, floats are taken to be there already.

    Args:
        images: uint8 or other integers in [0, 255], or floats in [0, 1], any shape.

    Returns:
        Tensor of float32 of the same shape.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype.is_integer:
        return tf.cast(images, tf.float32) / 255
    return tf.cast(images, tf.float32)


def _uniform(seed: Any, shape: Any, low: float = 0.0, high: float = 1.0) -> Any:
    return tf.random.stateless_uniform(shape, seed, low, high)


def fold(seed: Any, number: Any) -> Any:
    """A seed of its own for each number: independent draws from one seed, (2,) int."""
    return tf.random.experimental.stateless_fold_in(tf.convert_to_tensor(seed), number)


class Augmentation(keras.layers.Layer):
    """Base of the augmentations: a subclass overrides `augment`.

    Args:
        probability: Share of the images that are changed, in [0, 1].
        seed: Seed of the layer's own draws, for its use inside a model; `None` draws one. A call
            with `seed=` does not use it.
        **kwargs: `name` and the rest of `keras.layers.Layer`.

    Call arguments:
        images: (N, height, width, channels), integers in [0, 255] or floats in [0, 1].
        training: `False` leaves the images as they are (as floats in [0, 1]; a crop resizes them).
        seed: Two whole numbers (2,), that decide all draws, for `tf.data`; by default the layer
            draws the next of its own, a different one on each replica. (Under XLA TensorFlow makes
            other draws of the same seed.)

    Returns:
        float32 in [0, 1], (N, height, width, channels).

    Raises:
        ValueError: for images that are not a batch of rank 4, or an argument out of its range.
    """

    def __init__(self, probability: float = 1.0, seed: int | None = None, **kwargs: Any) -> None:
        # Images stay float32 whatever the policy: half precision would show in the colours.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.probability = check_fraction("probability", probability)
        self.seed = seed
        self._generator = keras.random.SeedGenerator(seed)
        self.built = True

    def augment(self, images: Any, seed: Any) -> Any:
        """Changed versions of all images: float32 in and out, all draws from `seed`."""
        raise NotImplementedError

    def leave(self, images: Any) -> Any:
        """What becomes of images that are not augmented."""
        return images

    def call(self, images: Any, training: bool = True, seed: Any = None) -> Any:  # noqa: D102
        images = to_unit_floats(images)
        if images.shape.rank != 4:
            raise ValueError(
                "`images` must be a batch (N, height, width, channels). "
                f"Received: shape={tuple(images.shape)}"
            )
        if not training or self.probability == 0:
            return self.leave(images)
        if seed is None:
            # Keras mirrors the generator's state: without its number, replicas would draw alike.
            seed = fold(tf.cast(self._generator.next(), tf.int32), distribution.replica_id())
        changed = self.augment(images, fold(seed, 0))
        if self.probability == 1:
            return changed
        is_chosen = _uniform(fold(seed, 1), [tf.shape(images)[0], 1, 1, 1]) < self.probability
        return tf.where(is_chosen, changed, self.leave(images))

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "probability": self.probability, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomResizedCrop(Augmentation):
    """A random rectangle of each image, resized.

    As torchvision's: area uniform in `scale` of the image's, aspect ratio log-uniform in `ratio`,
    ten tries to find one that fits. Where none does, the sides of the first are cut to the image's
    (torchvision: the largest central rectangle whose ratio is allowed), which only happens in
    elongated images. Bilinear (published codes: bicubic).

    Args:
        size: (height, width) of the result, or `None` for that of the images.
        scale: Range of the area, in (0, 1]. Default (0.08, 1): SimCLR, BYOL, VICReg.
        ratio: Range of width over height. Default (3/4, 4/3): the same.
        **kwargs: See `Augmentation`. An image that is not chosen is resized whole.
    """

    _TRIES = 10

    def __init__(
        self,
        size: Sequence[int] | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False  # XLA has no crop_and_resize.
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scale = _check_range("scale", scale, upper=1.0)
        self.ratio = _check_range("ratio", ratio)

    def leave(self, images: Any) -> Any:  # noqa: D102
        if self.size is None or self.size == tuple(images.shape[1:3]):
            return images
        return tf.image.resize(images, self.size)

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        n, height, width = (tf.shape(images)[i] for i in range(3))
        h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        tries = [n, self._TRIES]
        area = _uniform(fold(seed, 0), tries, *self.scale) * h * w
        log_ratio = [float(np.log(r)) for r in self.ratio]
        root_ratio = tf.exp(_uniform(fold(seed, 1), tries, *log_ratio) / 2)
        heights, widths = tf.sqrt(area) / root_ratio / h, tf.sqrt(area) * root_ratio / w
        # The first try that fits; where none does, argmax is 0 and the sides are clipped to 1.
        fits = tf.logical_and(heights <= 1, widths <= 1)
        first = tf.argmax(fits, axis=1, output_type=tf.int32)
        heights = tf.minimum(tf.gather(heights, first, batch_dims=1), 1)
        widths = tf.minimum(tf.gather(widths, first, batch_dims=1), 1)
        top = _uniform(fold(seed, 2), [n]) * (1 - heights)
        left = _uniform(fold(seed, 3), [n]) * (1 - widths)
        # crop_and_resize wants the centres of the corner pixels, as a share of (size - 1).
        boxes = tf.stack(
            [
                (top * h) / tf.maximum(h - 1, 1),
                (left * w) / tf.maximum(w - 1, 1),
                ((top + heights) * h - 1) / tf.maximum(h - 1, 1),
                ((left + widths) * w - 1) / tf.maximum(w - 1, 1),
            ],
            axis=1,
        )
        size = (height, width) if self.size is None else self.size
        crops = tf.image.crop_and_resize(images, boxes, tf.range(n), size)
        return tf.ensure_shape(crops, self.compute_output_shape(images.shape))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        size = tuple(input_shape[1:3]) if self.size is None else self.size
        return (input_shape[0], *size, input_shape[3])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "size": self.size, "scale": self.scale, "ratio": self.ratio}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomFlip(Augmentation):
    """Each image mirrored left to right.

    Args:
        probability: Share of the images. Default 0.5.
        **kwargs: See `Augmentation`.
    """

    def __init__(self, probability: float = 0.5, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        return tf.reverse(images, axis=[2])


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue of each image changed at random.

    Factors uniform in `[max(0, 1 - s), 1 + s]` for brightness, contrast and saturation of strength
    s; the hue turned by a share of the circle uniform in `[-hue, hue]`. The change of hue is a
    rotation in YIQ, which keeps the luma; torchvision turns the hue of HSV. All four are then
    linear maps that commute, one 3x3 matrix and an offset per image, clipped once to [0, 1]; with
    HSV and a clip after each they would not quite commute, whence torchvision's random order.

    Saturation and hue are only defined for 3 channels; others get brightness and contrast.

    Args:
        brightness: Strength, at least 0. Default 0.4: Table S1 of the duality paper (BYOL).
        contrast: Strength, at least 0. Default 0.4.
        saturation: Strength, at least 0. Default 0.2.
        hue: Largest turn, in [0, 0.5]. Default 0.1.
        probability: Share of the images. Default 0.8.
        **kwargs: See `Augmentation`.
    """

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

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        n = tf.shape(images)[0]

        def factor(strength: float, number: int) -> Any:
            shape = [n, 1, 1, 1]
            return _uniform(fold(seed, number), shape, max(0.0, 1 - strength), 1 + strength)

        # Contrast moves towards the mean luma of the image, taken before brightness scales both.
        contrast, brightness = factor(self.contrast, 1), factor(self.brightness, 0)
        mean = tf.reduce_mean(grey(images), axis=[1, 2], keepdims=True)  # (N, 1, 1, 1)
        offset = brightness * (1 - contrast) * mean
        gain = brightness * contrast
        if images.shape[3] == 3 and (self.saturation or self.hue):
            saturation = factor(self.saturation, 2)[:, 0, 0, 0]
            angle = _uniform(fold(seed, 3), [n], -self.hue, self.hue) * 2 * np.pi
            cos, sin = saturation * tf.cos(angle), saturation * tf.sin(angle)
            one, zero = tf.ones_like(cos), tf.zeros_like(cos)
            rotation = tf.stack(
                [
                    tf.stack([one, zero, zero], axis=-1),
                    tf.stack([zero, cos, -sin], axis=-1),
                    tf.stack([zero, sin, cos], axis=-1),
                ],
                axis=1,
            )  # (N, 3, 3)
            matrix = np.linalg.inv(_YIQ) @ rotation @ _YIQ
            shape = tf.shape(images)
            pixels = tf.reshape(images, [n, -1, 3]) @ tf.transpose(matrix, [0, 2, 1])
            images = tf.reshape(pixels, shape)
        return tf.clip_by_value(gain * images + offset, 0, 1)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }


def grey(images: Any) -> Any:
    """The luma of 3-channel images, the mean of the channels of others, (N, height, width, 1)."""
    if images.shape[-1] == 3:
        return tf.reduce_sum(images * _LUMA, axis=-1, keepdims=True)
    return tf.reduce_mean(images, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGreyscale(Augmentation):
    """Each image without its colours, its channels all equal to its luma.

    Args:
        probability: Share of the images. Default 0.2: SimCLR, BYOL, VICReg.
        **kwargs: See `Augmentation`.
    """

    def __init__(self, probability: float = 0.2, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        return tf.broadcast_to(grey(images), tf.shape(images))


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGaussianBlur(Augmentation):
    """Each image convolved with a Gaussian of its own width.

    The blur is separable and linear: rows and columns are each multiplied by a matrix of Gaussian
    weights that sum to one, `B X B^T`. The kernel is not cut off (published codes: 23 pixels at
    224), and is renormalised at the borders.

    Args:
        sigma: Range of the standard deviation, in pixels, uniform. Default (0.1, 2): SimCLR, BYOL
            and VICReg, at 224 pixels.
        probability: Share of the images. Default 0.5: SimCLR.
        **kwargs: See `Augmentation`.
    """

    def __init__(
        self, sigma: Sequence[float] = (0.1, 2.0), probability: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.sigma = _check_range("sigma", sigma)

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        sigma = _uniform(fold(seed, 0), [tf.shape(images)[0], 1, 1], *self.sigma)

        def blur_matrix(size: Any) -> Any:
            position = tf.cast(tf.range(size), tf.float32)
            distance = position[:, None] - position[None, :]
            return tf.nn.softmax(-tf.square(distance / sigma) / 2, axis=-1)  # (N, size, size)

        def down_the_columns(x: Any) -> Any:
            shape = tf.shape(x)
            columns = tf.reshape(x, [shape[0], shape[1], shape[2] * shape[3]])
            return tf.reshape(blur_matrix(shape[1]) @ columns, shape)

        def transpose(x: Any) -> Any:
            return tf.transpose(x, [0, 2, 1, 3])

        return transpose(down_the_columns(transpose(down_the_columns(images))))

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomSolarize(Augmentation):
    """The bright part of each image inverted: x becomes 1 - x where x >= threshold.

    Args:
        probability: Share of the images. Default 0.2: the second view of BYOL and VICReg.
        threshold: In [0, 1]. Default 128/255: the published codes.
        **kwargs: See `Augmentation`.
    """

    def __init__(
        self, probability: float = 0.2, threshold: float = 128 / 255, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.threshold = check_fraction("threshold", threshold)

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        return tf.where(images >= self.threshold, 1 - images, images)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_ssl")
class Compose(Augmentation):
    """Augmentations one after the other, each with draws of its own.

    Args:
        augmentations: Sequence of `Augmentation`.
        **kwargs: See `Augmentation`.
    """

    def __init__(self, augmentations: Sequence[Augmentation], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for augmentation in augmentations:
            if not isinstance(augmentation, Augmentation):
                raise TypeError(
                    "`augmentations` must be keras_ssl.data augmentations. "
                    f"Received: {augmentation!r}"
                )
        self.augmentations = list(augmentations)

    def leave(self, images: Any) -> Any:  # noqa: D102
        for augmentation in self.augmentations:
            images = augmentation.leave(images)
        return images

    def augment(self, images: Any, seed: Any) -> Any:  # noqa: D102
        for i, augmentation in enumerate(self.augmentations):
            images = augmentation(images, seed=fold(seed, i))
        return images

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        for augmentation in self.augmentations:
            input_shape = augmentation.compute_output_shape(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialized = [keras.saving.serialize_keras_object(a) for a in self.augmentations]
        return {**super().get_config(), "augmentations": serialized}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Compose":  # noqa: D102
        config = dict(config)
        config["augmentations"] = [
            keras.saving.deserialize_keras_object(a) for a in config["augmentations"]
        ]
        return cls(**config)


def _check_range(name: str, value: Sequence[float], upper: float | None = None) -> tuple:
    """(low, high) as floats, or raises if they are not positive, ordered and at most `upper`."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != 2:
        raise ValueError(f"`{name}` must be two numbers (low, high). Received: {name}={value!r}")
    low, high = (check_positive(name, v) for v in value)
    if low > high or (upper is not None and high > upper):
        limit = "" if upper is None else f", at most {upper}"
        raise ValueError(f"`{name}` must be (low, high), low <= high{limit}. Received: {value!r}")
    return (low, high)
