"""From images to batches of two views, and a picture of them."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ssl._validation import check_count
from keras_ssl.data.augmentation import to_unit_floats
from keras_ssl.data.datasets import ImageSet
from keras_ssl.data.policies import TwoViews

# Large enough that no one trains so long; a range has to end somewhere.
_ENDLESS = 2**31


def two_views(
    images: ImageSet,
    policy: TwoViews,
    batch_size: int,
    seed: int = 0,
    first_epoch: int = 0,
    probe_images: ImageSet | None = None,
) -> tf.data.Dataset:
    """An endless dataset of batches of views, every epoch a new order and new draws.

    All draws follow from (seed, epoch, step, image): a run that stops after epoch e goes on exactly
    as if it had not with `first_epoch=e`. One epoch is `len(images) // batch_size` batches; pass
    that as `steps_per_epoch` to `fit`.

    Args:
        images: What to make views of.
        policy: What makes them.
        batch_size: Images per batch over all replicas, at most `len(images)`.
        seed: Seed of orders and draws, a whole number of at least 0.
        first_epoch: Epoch to begin with, from 0.
        probe_images: Labelled images for the online probe, if they are others than `images`.

    Returns:
        Dataset of `((view_1, view_2), labels)`; of `((view_1, view_2),)` where `images` has no
        labels; of `((view_1, view_2), (images, labels))` with `probe_images`. Views are float32 in
        [0, 1], (batch_size, height, width, channels); labels int64, (batch_size,).

    Raises:
        ValueError: if the batch is larger than the data set, or `probe_images` has no labels.
    """
    batches = _epochs(images, batch_size, seed, first_epoch)

    def views(index: Any, batch: Any) -> Any:
        draws = tf.stack([tf.cast(seed, tf.int64), index])
        pair = policy(batch[0], training=True, seed=draws)
        return (pair, batch[1]) if images.has_labels else (pair,)

    dataset = batches.map(views, num_parallel_calls=tf.data.AUTOTUNE)
    if probe_images is not None:
        if not probe_images.has_labels:
            raise ValueError("`probe_images` must have labels. Received: images without labels")
        size = min(batch_size, len(probe_images))
        labelled = _epochs(probe_images, size, seed, first_epoch).map(
            lambda _, batch: (to_unit_floats(batch[0]), batch[1])
        )
        dataset = tf.data.Dataset.zip(dataset, labelled).map(lambda data, probe: (data[0], probe))
    # Of several machines each takes its rows of a batch, not its files of the data set.
    sharing = tf.data.Options()
    sharing.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(sharing).prefetch(tf.data.AUTOTUNE)


def _epochs(images: ImageSet, batch_size: int, seed: int, first_epoch: int) -> tf.data.Dataset:
    """Endless (index of the batch, (images, labels)), reshuffled every epoch."""
    batch_size = check_count("batch_size", batch_size)
    if batch_size > len(images):
        raise ValueError(
            f"`batch_size` must be at most the size of the data set, {len(images)} images. "
            f"Received: batch_size={batch_size}"
        )
    steps = len(images) // batch_size

    def one_epoch(epoch: Any) -> tf.data.Dataset:
        # Without this, the order would depend on tf.random.set_seed besides `seed`, and TensorFlow
        # 2.21 fails to combine that global seed with one that is a tensor.
        tf.compat.v1.get_default_graph().seed = None
        batches = images.shuffled(seed + epoch).batch(batch_size, drop_remainder=True)
        return batches.enumerate(start=epoch * steps)

    return tf.data.Dataset.range(first_epoch, _ENDLESS).flat_map(one_epoch)


def view_grid(
    images: Any,
    policy: TwoViews,
    path: str | os.PathLike[str],
    count: int = 8,
    draws: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Draws a grid of images and their views, and writes it to a picture file.

    One row per image: the image, then `draws` pairs of views.

    Args:
        images: An `ImageSet`, or an array (N, height, width, channels) of bytes or of floats in
            [0, 1].
        policy: What makes the views.
        path: Picture to write, such as "views.png".
        count: Number of images.
        draws: Number of pairs per image.
        seed: Seed of the draws.

    Returns:
        The picture, uint8 (rows, columns, 3).
    """
    from PIL import Image

    if isinstance(images, ImageSet):
        images = next(iter(images.batches(count)))[0]
    images = to_unit_floats(images[:count])
    columns = [policy.leave(images)[0]]
    for draw in range(draws):
        columns += policy(images, training=True, seed=(seed, draw))
    picture = mosaic(columns)
    Image.fromarray(picture).save(path)
    return picture


def mosaic(columns: Sequence[Any]) -> np.ndarray:
    """Columns of images side by side as one picture.

    Args:
        columns: Floats in [0, 1], each (rows, height, width, channels).

    Returns:
        The picture, uint8 (pixels, pixels, 3).
    """
    columns = [_rgb(np.asarray(column)) for column in columns]
    border = [(0, 0), (1, 1), (1, 1), (0, 0)]
    tiles = [np.pad(column, border, constant_values=1.0) for column in columns]
    grid = np.concatenate([np.concatenate(list(tile), axis=0) for tile in tiles], axis=1)
    picture = np.round(grid * 255).astype(np.uint8)
    # Tiny images are enlarged to be seen: an image should be about 64 pixels high.
    zoom = max(1, 64 // columns[0].shape[1])
    return picture.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _rgb(images: np.ndarray) -> np.ndarray:
    """Images of any number of channels as 3: grey repeated, the first 3 of more, 0 for a third."""
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    if channels == 2:
        return np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    return images[..., :3]
