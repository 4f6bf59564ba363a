"""Bringing images to a size and a number of channels, in the same way for every source."""

import dataclasses
from typing import Any

import numpy as np
from keras.ops import convert_to_numpy

from keras_ssl._tensorflow import tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count
from keras_ssl.data import without_tensorflow
from keras_ssl.data.augmentation.pixels import gray
from keras_ssl.data.image_set import ImageSet, Splits

# A larger height and width would make a single image take more than 200 MB.
_LARGEST_IMAGE = 8192


def check_image_size(image_size: Any) -> int:
    """Returns `image_size` as an int, or raises if it is not from 1 to 8192."""
    size = check_count("image_size", image_size)
    if size > _LARGEST_IMAGE:
        raise ValueError(
            f"`image_size` must be at most {_LARGEST_IMAGE} pixels: one image of that height and "
            f"width would take {size * size * 3 / 2**30:.1f} GiB. Received: image_size={size}"
        )
    return size


def brought_to(splits: Splits, image_size: int | None, channels: int | None) -> Splits:
    """The same images of another size and number of channels; `None` leaves them as they are."""
    train, test = splits
    return Splits(
        _brought_to(train, image_size, channels), test and _brought_to(test, image_size, channels)
    )


def _brought_to(images: ImageSet, image_size: int | None, channels: int | None) -> ImageSet:
    """See `brought_to`."""
    height, width, own = images.image_shape
    possible = (1, 3) if own in (1, 3) else (own,)
    if channels is not None and channels not in possible:
        raise ValueError(
            f"`channels` must be {' or '.join(map(str, possible))} for these images, which have "
            f"{own}. Received: channels={channels!r}"
        )
    size = None if (image_size, image_size) == (height, width) else image_size
    if size is None and channels in (None, own):
        return images

    fetch = _Fitted(images, size, channels)
    return dataclasses.replace(images, fetch=fetch, image_shape=fetch.shape)


class _Fitted:
    """Fetches images, and brings them to a size and a number of channels.

    Args:
        images: Images of 1 or 3 channels, or of a number that stays.
        size: Height and width, or `None`: as they are.
        channels: Number of channels, or `None`: as they are.
    """

    def __init__(self, images: ImageSet, size: int | None, channels: int | None) -> None:
        height, width, self.own = images.image_shape
        self.images, self.size = images, size
        self.shape = (size or height, size or width, channels or self.own)

    def __call__(self, key: Tensor) -> Tensor:
        """Returns the image of a key, in a graph."""
        image = self.images.fetch(key)
        if self.size is not None:
            image = fit(image, self.size)
        if self.shape[2] > self.own:
            image = tf.repeat(image, 3, axis=-1)
        elif self.shape[2] < self.own:
            image = _like(image, gray(tf.cast(image, tf.float32)))
        return tf.ensure_shape(image, self.shape)

    @property
    def dtype(self) -> Any:
        """The type of the images, which stays."""
        return self.images.dtype

    def take(self, places: np.ndarray) -> np.ndarray:
        """Returns the images at places in an array, without TensorFlow; the same to rounding."""
        images = without_tensorflow.fetch(self.images, places)
        if self.size is not None:
            images = np.stack([_fit_array(image, self.size) for image in images])
        if self.shape[2] > self.own:
            return images.repeat(3, axis=-1)
        if self.shape[2] < self.own:
            return _like_array(images, convert_to_numpy(gray(images.astype("float32"))))
        return images


def fit(image: Tensor, size: int) -> Any:
    """Resizes the shorter side of an image to `size`, antialiased, and crops the center."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.cast(tf.math.ceil(shape * (size / tf.reduce_min(shape))), tf.int32)
    resized = tf.image.resize(tf.cast(image, tf.float32), target, "bicubic", antialias=True)
    return _like(image, tf.image.resize_with_crop_or_pad(resized, size, size))


def _like(image: Tensor, pixels: Tensor) -> Tensor:
    """Pixels in the dtype and range of `image`: integers in [0, 255], or floats in [0, 1]."""
    if image.dtype.is_floating:
        return tf.clip_by_value(pixels, 0, 1)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), image.dtype)


def _fit_array(image: np.ndarray, size: int) -> np.ndarray:
    """Does what `fit` does, by Pillow, whose bicubic weights are the same."""
    from PIL import Image

    shape = np.array(image.shape[:2], "float32")
    height, width = np.ceil(shape * (np.float32(size) / shape.min())).astype(int).tolist()
    top, left = (height - size) // 2, (width - size) // 2
    planes = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(image.astype("float32"), -1, 0)
    ]
    resized = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return _like_array(image, resized[top : top + size, left : left + size])


def _like_array(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Does what `_like` does."""
    if np.issubdtype(image.dtype, np.floating):
        return np.clip(pixels, 0, 1)
    return np.clip(np.round(pixels), 0, 255).astype(image.dtype)
