"""Bringing images to a size and a number of channels, in the same way for every source."""

import dataclasses
from typing import Any

import tensorflow as tf

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count
from keras_ssl.data.augmentation import gray
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

    def fetch(key: Tensor) -> Tensor:
        image = images.fetch(key)
        if size is not None:
            image = fit(image, size)
        if channels == 3 and own == 1:
            image = tf.repeat(image, 3, axis=-1)
        elif channels == 1 and own == 3:
            image = _like(image, gray(tf.cast(image, tf.float32)))
        return tf.ensure_shape(image, shape)

    shape = (size or height, size or width, channels or own)
    return dataclasses.replace(images, fetch=fetch, image_shape=shape)


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
