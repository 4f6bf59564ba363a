"""Frozen features: what every evaluator sees of an encoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssl import _log
from keras_ssl._tensorflow import tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count
from keras_ssl.data import ImageSet, Views
from keras_ssl.data.image_set import check_image_set
from keras_ssl.data.views import check_policy
from keras_ssl.encoders import UNIT_INPUT, as_encoder
from keras_ssl.models import JointEmbeddingModel

_RAW_SIZE = 32


def finite(
    name: str, values: Tensor, rank: int, description: str, most: int | None = None
) -> np.ndarray:
    """Returns values in float64, or raises unless they are finite real numbers of a given rank.

    Args:
        name: Name of the argument, for the message.
        values: Any array.
        rank: Number of axes.
        description: What the values must be, for the message.
        most: Number of rows that are enough; the others are dropped.
    """
    try:
        array = np.asarray(values)
        is_right = (
            array.ndim == rank
            and array.size > 0
            and (array.dtype.kind in "fiub" or array.dtype.name == "bfloat16")
        )
    except ValueError:  # rows of several lengths
        array, is_right = np.empty(0), False
    if is_right:
        array = np.asarray(array[:most], np.float64)
    if not is_right or not np.isfinite(array).all():
        received = f"dtype={array.dtype}, shape={array.shape}"
        raise ValueError(f"`{name}` must be {description} of finite numbers. Received: {received}")
    return array


class Features(NamedTuple):
    """Features of images and their labels.

    Example:
        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(8))
        >>> features = extract(raw_pixels(images.image_shape), images)
        >>> features.values.shape, features.labels.tolist()
        ((8, 64), [3, 9, 1, 3, 1, 9, 4, 4])
    """

    values: np.ndarray
    labels: np.ndarray


def extract(encoder: keras.Model, images: ImageSet, batch_size: int = 256) -> Features:
    """Computes the representations of all images, in order and inference mode, not augmented.

    Args:
        encoder: A Keras model from images to representations or feature maps; see
            `keras_ssl.encoders.as_encoder` for the range of their values. It may also be a
            `JointEmbeddingModel`, whose predictions are representations.
        images: The images.
        batch_size: Images per step.

    Returns:
        `Features`: float32 (N, D), and int64 (N,), -1 where there are no labels.

    Example:
        The encoder returns feature maps of four channels; a feature is the mean of each.

        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(8))
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3)])
        >>> features = extract(encoder, images)
        >>> features.values.shape, features.labels.shape
        ((8, 4), (8,))
    """
    check_image_set("images", images)
    represent = represent_with(encoder, images.image_shape)
    values, labels = [], []
    for batch, batch_labels in images.batches(batch_size):
        values.append(represent(batch))
        _log.advance(sum(map(len, values)), len(images))
        labels.append(np.asarray(batch_labels))
    return Features(np.concatenate(values), np.concatenate(labels))


def extract_views(
    encoder: keras.Model, images: ImageSet, policy: Views, count: int, batch_size: int = 256
) -> np.ndarray:
    """Computes the representations of several views of each image, in inference mode.

    The draws are the same for the same images and batch size, so that figures of two encoders can
    be compared.

    Args:
        encoder: See `extract`.
        images: The images.
        policy: The policy that makes the views; it is called until there are enough.
        count: Number of views of each image, at least 1.
        batch_size: Images per step.

    Returns:
        float32 (N, count, D).

    Example:
        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(8))
        >>> encoder, policy = raw_pixels(images.image_shape), data.tiny_gray()
        >>> views = extract_views(encoder, images, policy, count=3)
        >>> views.shape, bool(np.all(views == extract_views(encoder, images, policy, count=3)))
        ((8, 3, 64), True)
    """
    check_image_set("images", images)
    check_policy("policy", policy)
    represent = represent_with(encoder, images.image_shape)
    times = -(-check_count("count", count) // len(policy.views))
    values = []
    for step, (batch, _) in enumerate(images.batches(batch_size)):
        draws = [policy.of([batch], (step, k)) for k in range(times)]
        views = [view for drawn in draws for view in drawn]
        values.append(np.stack([represent(view) for view in views[:count]], axis=1))
        _log.advance(sum(map(len, values)), len(images))
    return np.concatenate(values)


def prepared(encoder: Any, image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the model that `extract` calls: a method as it is, anything else as an encoder."""
    is_method = isinstance(encoder, JointEmbeddingModel)
    return encoder if is_method else as_encoder(encoder, image_shape=image_shape)


def represent_with(
    encoder: keras.Model, image_shape: tuple[int, int, int]
) -> Callable[[Any], np.ndarray]:
    """Makes a function from a batch of images to float32 (N, D), in inference mode.

    Args:
        encoder: See `extract`.
        image_shape: (height, width, channels) of the images.
    """
    model = prepared(encoder, image_shape)
    if keras.backend.backend() != "tensorflow":
        represent = model.predict_on_batch
    elif model.distribute_strategy.num_replicas_in_sync > 1:
        # Keras would give every replica the whole batch, and concatenate all results.
        represent = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    else:
        represent = model.predict_on_batch
        model.make_predict_function()
        if isinstance(model.predict_function, tf.types.experimental.PolymorphicFunction):
            # One graph for batches of any size, where Keras would make one for the first size, too.
            batch = tf.TensorSpec((None, *image_shape), tf.float32)
            model.predict_function.get_concrete_function([(batch,)])

    def features(batch: Any) -> np.ndarray:
        return np.asarray(represent(for_backend(batch)), np.float32)

    return features


def for_backend(batch: Any) -> Any:
    """Returns a batch of tf.data as Keras' backend takes it."""
    return batch if keras.backend.backend() == "tensorflow" else np.asarray(batch)


def raw_pixels(image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds the encoder that every encoder should beat: the pixels themselves, (N, H * W * C).

    Images larger than 32 pixels are first resized to 32 x 32, antialiased by averaging: more pixels
    would make neighbors and linear classifiers slower, but not better.

    Args:
        image_shape: (height, width, channels) of the images.

    Example:
        >>> raw_pixels((8, 8, 1)).output_shape
        (None, 64)
        >>> raw_pixels((224, 224, 3)).output_shape  # 32 * 32 * 3
        (None, 3072)
    """
    pixels = keras.Sequential([keras.layers.Input(image_shape, name=UNIT_INPUT)])
    if max(image_shape[:2]) > _RAW_SIZE:
        pixels.add(keras.layers.Resizing(_RAW_SIZE, _RAW_SIZE, antialias=True))
    pixels.add(keras.layers.Flatten())
    return pixels
