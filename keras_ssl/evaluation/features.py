"""Frozen features: what every evaluator sees of an encoder."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ssl.data import ImageSet
from keras_ssl.encoders import as_encoder

_RAW_SIZE = 32


class Features(NamedTuple):
    """Features of images and their labels."""

    values: np.ndarray
    labels: np.ndarray


def extract(encoder: keras.Model, images: ImageSet, batch_size: int = 256) -> Features:
    """The representations of all images, in order, without augmentation, in inference mode.

    Args:
        encoder: A Keras model from float images in [0, 1] to representations or feature maps; a
            `JointEmbeddingModel` too, whose predictions are representations.
        images: The images.
        batch_size: Images per step.

    Returns:
        `Features`: float32 (N, D), and int64 (N,), -1 where there are no labels.
    """
    model = as_encoder(encoder)
    represent = model.predict_on_batch
    if model.distribute_strategy.num_replicas_in_sync > 1:
        # Keras would hand the batch to every replica, and concatenate what they all return.
        represent = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    values, labels = [], []
    for batch, batch_labels in images.batches(batch_size):
        features = np.asarray(represent(batch), np.float32)
        values.append(features.mean(axis=(1, 2)) if features.ndim == 4 else features)
        labels.append(batch_labels.numpy())
    return Features(np.concatenate(values), np.concatenate(labels))


def raw_pixels(image_shape: tuple[int, int, int]) -> keras.Model:
    """The encoder that every encoder should beat: the pixels themselves, (N, H * W * C).

    Images larger than 32 pixels are resized to 32 x 32 first, antialiased by averaging: more pixels
    make neighbours and linear classifiers slower, and no better.

    Args:
        image_shape: (height, width, channels) of the images.
    """
    pixels = keras.Sequential([keras.layers.Input(image_shape)])
    if max(image_shape[:2]) > _RAW_SIZE:
        pixels.add(keras.layers.Resizing(_RAW_SIZE, _RAW_SIZE, antialias=True))
    pixels.add(keras.layers.Flatten())
    return pixels
