"""Images brought to a size and a number of channels, the same way for every source."""

import dataclasses
from typing import Any

import tensorflow as tf

from keras_ssl._validation import check_count
from keras_ssl.data.augmentation import grey
from keras_ssl.data.image_set import ImageSet, Splits

# Height and width of an image beyond which a single one takes 200 MB and more.
_LARGEST_IMAGE = 8192


def check_image_size(image_size: Any) -> int:
    """Returns `image_size` as an int, or raises if it is no size that an image can have."""
    size = check_count("image_size", image_size)
    if size > _LARGEST_IMAGE:
        raise ValueError(
            f"`image_size` must be at most {_LARGEST_IMAGE} pixels: one image of that height and "
            f"width would take {size * size * 3 / 2**30:.1f} GiB. Received: image_size={size}"
        )
    return size


def brought_to(splits: Splits, image_size: int | None, channels: int | None) -> Splits:
    """Images in memory, of another size and number of channels, as a folder's would be."""
    train, test = splits
    return Splits(
        _brought_to(train, image_size, channels), test and _brought_to(test, image_size, channels)
    )


def _brought_to(images: ImageSet, image_size: int | None, channels: int | None) -> ImageSet:
    """Images in memory as of another size and number of channels, as files of a folder would be."""
    height, width, own = images.image_shape
    if channels not in (None, own) and (own, channels) not in ((1, 3), (3, 1)):
        raise ValueError(
            f"`channels` must be {own}, or 1 and 3 be changed into each other. "
            f"Received: channels={channels!r}, for images of {own} channels"
        )
    size = None if (image_size, image_size) == (height, width) else image_size
    if size is None and channels in (None, own):
        return images

    def fetch(key: Any) -> Any:
        image = images.fetch(key)
        if size is not None:
            image = fit(image, size)
        if channels == 3 and own == 1:
            image = tf.repeat(image, 3, axis=-1)
        elif channels == 1 and own == 3:
            image = _like(image, grey(tf.cast(image, tf.float32)))
        return tf.ensure_shape(image, shape)

    shape = (size or height, size or width, channels or own)
    return dataclasses.replace(images, fetch=fetch, image_shape=shape)


def fit(image: Any, size: int) -> Any:
    """An image brought to (size, size): shorter side resized, antialiased, the middle cut out."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.cast(tf.math.ceil(shape * (size / tf.reduce_min(shape))), tf.int32)
    resized = tf.image.resize(tf.cast(image, tf.float32), target, "bicubic", antialias=True)
    return _like(image, tf.image.resize_with_crop_or_pad(resized, size, size))


def _like(image: Any, pixels: Any) -> Any:
    """Pixels as `image` has them: whole numbers from 0 to 255, or floats from 0 to 1."""
    if image.dtype.is_floating:
        return tf.clip_by_value(pixels, 0, 1)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), image.dtype)
