"""Batches of views, or of images, epoch by epoch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_ssl._keras import functions_of_tensorflow
from keras_ssl._python import as_it_is, numpy_function
from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._validation import check_count, check_seed
from keras_ssl.data import without_tensorflow
from keras_ssl.data.epochs import Epochs
from keras_ssl.data.image_set import ImageSet, check_image_set, unit_floats
from keras_ssl.data.views import Views, check_policy

# Passes over the probe's images in an epoch: without end, but a range needs one.
_ENDLESS = 2**31

# Up to so many cores, one thread makes views by OpenCV: it calls it from Python, and a second one
# would wait for the first. On more, TensorFlow, which takes one to three times the work, uses all.
_FEW_CORES = 4


def make_views(
    images: ImageSet,
    policy: Views,
    batch_size: int,
    seed: int = 0,
    probe_images: ImageSet | None = None,
) -> tf.data.Dataset:
    """Makes batches of views of each image: all that `fit` of a method needs.

        model.fit(make_views(images, policy, batch_size), epochs=20)

    One pass is one epoch of `len(images) // batch_size` batches, in a new order and with new draws.
    Both follow from (seed, epoch, step, image) alone, so that a run that stops and goes on is
    exactly the same as one that did not stop. `keras_ssl.data.epochs` says how an epoch gets its
    number.

    If the images have groups (`ImageSet.groups`), an example is a group: view_1 is made of one of
    its images, view_2 of another, and further views of the two in turn. An epoch has
    `images.example_count // batch_size` batches.

    Args:
        images: The images.
        policy: The policy that makes the views.
        batch_size: Images (or groups) per batch over all replicas, at most all of them. An epoch
            leaves out the last images of its order, which do not fill a batch.
        seed: Seed of orders and draws, a whole number of at least 0.
        probe_images: Labeled images for the online probe, if not `images`.

    Returns:
        `tf.data.Dataset` of `((view_1, view_2), labels)`, or of more views if the policy makes
        more; of `((view_1, view_2),)` if `images` has no labels; of
        `((view_1, view_2), (images, labels))` with `probe_images`. Views are
        float32 in [0, 1], (batch_size, height, width, channels); labels are int64, (batch_size,).
        Without TensorFlow it is a `keras.utils.PyDataset` of the same batches, whose methods are
        `take(count)` and `starting_at(step)`. The data set's attribute `epochs` is the
        `keras_ssl.data.Epochs` that numbers its passes. Its method `starting_at(step)` returns the
        same data set without the first `step` batches of each epoch.

    Raises:
        TypeError: if `images` is not an `ImageSet`, or `policy` not a `Views`.
        ValueError: if the batch is larger than the data set, or `probe_images` has no labels.

    Example:
        Of 10 images, an epoch makes 2 batches of 4, and leaves out 2 images.

        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = data.from_arrays(np.zeros((10, 8, 8, 1)), labels=[0, 1] * 5)
        >>> views = make_views(images, data.tiny_gray(), batch_size=4)
        >>> (view_1, view_2), labels = next(iter(views))
        >>> len(views), tuple(view_1.shape), tuple(view_2.shape), tuple(labels.shape)
        (2, (4, 8, 8, 1), (4, 8, 8, 1), (4,))
    """
    check_image_set("images", images)
    check_policy("policy", policy)
    is_fastest = _cores() <= _FEW_CORES or not is_installed()
    by_opencv = policy.fits_opencv(images.image_shape[2]) and is_fastest

    def make(batches: Any, numbers: Any, xp: Any) -> Any:
        return policy.of(batches, numbers, by_opencv)

    return _batches_of(images, make, 1 if by_opencv else None, batch_size, seed, probe_images)


def make_batches(
    images: ImageSet, batch_size: int, seed: int = 0, probe_images: ImageSet | None = None
) -> tf.data.Dataset:
    """Makes batches of images for a method that makes the views itself, on the device.

        model = VICReg(encoder, views=policy)
        model.fit(make_batches(images, batch_size), epochs=20)

    Orders and draws are those of `make_views`: this trains what
    `fit(make_views(images, policy, batch_size))` trains, to rounding, and goes on as exactly. The
    device is fed images as they are, bytes for example, and the CPU makes no views.

    Args:
        images: The images, without groups.
        batch_size: See `make_views`.
        seed: See `make_views`.
        probe_images: See `make_views`.

    Returns:
        `tf.data.Dataset` of `((images, draws), labels)`, else as of `make_views`. Images are
        uint8 or float32 (batch_size, height, width, channels). Draws are int32 (batch_size, 4): the
        numbers (seed, epoch, step, place in the batch) that the draws of an image follow from.

    Raises:
        TypeError: if `images` is not an `ImageSet`.
        ValueError: if the images have groups, and as of `make_views`.

    Example:
        The draws of an image follow from seed 5, epoch 0, step 0 and its place.

        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = data.from_arrays(np.zeros((4, 8, 8, 1)), labels=[0, 1, 0, 1])
        >>> (batch, draws), labels = next(iter(make_batches(images, batch_size=2, seed=5)))
        >>> tuple(batch.shape), np.asarray(draws).tolist()
        ((2, 8, 8, 1), [[5, 0, 0, 0], [5, 0, 0, 1]])
    """
    if check_image_set("images", images).groups is not None:
        raise ValueError(
            "`images` must have no groups, whose views are of two images: use make_views. "
            "Received: images with groups"
        )

    def make(batches: Any, numbers: Any, xp: Any) -> Any:
        places = xp.arange(batch_size, dtype="int32")[:, None]
        same = xp.broadcast_to(xp.array(numbers, "int32"), (batch_size, 3))
        return batches[0], xp.concatenate([same, places], axis=1)

    return _batches_of(images, make, None, batch_size, seed, probe_images)


def _batches_of(
    images: ImageSet,
    make: Callable[[Any, Any, Any], Any],
    threads: int | None,
    batch_size: int,
    seed: int,
    probe_images: ImageSet | None,
) -> tf.data.Dataset:
    """Does what `make_views` does, with what `make(batches, (seed, epoch, step), xp)` returns.

    `xp` has the functions for the batches, by NumPy's names; `threads` are as many as TensorFlow
    likes if `None`.
    """
    batch_size, seed = check_count("batch_size", batch_size), check_seed("seed", seed)
    count = images.example_count
    if batch_size > count:
        unit = "images" if images.groups is None else "groups"
        raise ValueError(
            f"`batch_size` must be at most the size of the data set, {count} {unit}. "
            f"Received: batch_size={batch_size}"
        )
    if probe_images is not None and not check_image_set("probe_images", probe_images).has_labels:
        raise ValueError("`probe_images` must have labels. Received: images without labels")
    if not is_installed():
        return _batches_by_python(images, make, batch_size, seed, probe_images)
    epochs, steps = Epochs(), count // batch_size

    def begin() -> np.ndarray:
        """Returns the number of the epoch that begins, and the seeds of its orders."""
        epoch = epochs.begin()
        return np.array([epoch, *_order_seeds(seed, epoch)], np.int64)

    def starting_at(first_step: int) -> tf.data.Dataset:
        @as_it_is
        def one_epoch(numbers: Any) -> tf.data.Dataset:
            epoch, order, probe_order = tf.unstack(tf.ensure_shape(numbers, (3,)))

            @as_it_is
            def views(step: Any, batch: Any) -> Any:
                batches = batch[0] if isinstance(batch[0], tuple) else batch[:1]
                made = make(batches, tf.stack([seed, epoch, step]), functions_of_tensorflow())
                return (made, batch[1]) if images.has_labels else (made,)

            batches = _batches(images, batch_size, order, first_step, steps)
            batches = batches.enumerate(first_step)
            batches = batches.map(views, num_parallel_calls=threads or tf.data.AUTOTUNE)
            if probe_images is not None:
                size = min(batch_size, len(probe_images))
                single = dataclasses.replace(probe_images, groups=None)
                labeled = _batches(single, size, probe_order, first_step, steps)
                labeled = labeled.map(as_it_is(unit_floats))
                batches = tf.data.Dataset.zip(batches, labeled)
                batches = batches.map(as_it_is(lambda data, probe: (data[0], probe)))
            return batches

        # The number is asked for when a pass begins, not when the data set is made.
        ask = as_it_is(lambda _: numpy_function(begin, [], tf.int64))
        numbers = tf.data.Dataset.range(1).map(ask)
        passes = numbers.flat_map(one_epoch)
        passes = passes.apply(tf.data.experimental.assert_cardinality(steps - first_step))
        # Each of several machines takes its rows of every batch, not its files of the data set.
        sharing = tf.data.Options()
        sharing.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        dataset = passes.with_options(sharing).prefetch(tf.data.AUTOTUNE)
        dataset.epochs, dataset.starting_at = epochs, starting_at
        return dataset

    return starting_at(0)


def _batches_by_python(
    images: ImageSet,
    make: Callable[[Any, Any, Any], Any],
    batch_size: int,
    seed: int,
    probe_images: ImageSet | None,
) -> without_tensorflow.Batches:
    """Does what `_batches_of` does without TensorFlow."""
    steps = images.example_count // batch_size
    examples = without_tensorflow.Shuffled(images, steps * batch_size)
    if probe_images is not None:
        size = min(batch_size, len(probe_images))
        probes = without_tensorflow.Shuffled(
            probe_images, len(probe_images) // size * size, in_groups=False
        )

    def batch(epoch: int, step: int) -> Any:
        order, probe_order = _order_seeds(seed, epoch)
        found, labels = examples.batch(order, step * batch_size, batch_size)
        batches = found if isinstance(found, tuple) else (found,)
        made = make(batches, np.array([seed, epoch, step]), np)
        if probe_images is not None:
            pixels, labels = probes.batch(probe_order, step * size, size)
            return made, (without_tensorflow.unit_floats(pixels), labels)
        return (made, labels) if images.has_labels else (made,)

    return without_tensorflow.Batches(batch, range(steps), Epochs())


def _order_seeds(seed: int, epoch: int) -> list[int]:
    """The seeds of an epoch's order, and of the order of the probe's images."""
    return [int(one) for one in np.random.SeedSequence([seed, epoch]).generate_state(2)]


def _cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _batches(
    images: ImageSet,
    batch_size: int,
    order: Any,
    first_step: int,
    last_step: int,
) -> tf.data.Dataset:
    """Makes the batches (images, labels) of steps `first_step` to `last_step`, shuffled each pass.

    Images of earlier steps are skipped, and not fetched.
    """
    steps = images.example_count // batch_size

    @as_it_is
    def one_pass(number: Any) -> tf.data.Dataset:
        # Without this, the order would depend on tf.random.set_seed besides `order`, and TensorFlow
        # 2.21 fails to combine that global seed with one that is a tensor.
        tf.compat.v1.get_default_graph().seed = None
        done = tf.constant(first_step % steps * batch_size, tf.int64)
        first = tf.where(number == first_step // steps, done, 0)
        return images.shuffled_batches(batch_size, order + number, first)

    passes = tf.data.Dataset.range(first_step // steps, _ENDLESS)
    return passes.flat_map(one_pass).take(last_step - first_step)
