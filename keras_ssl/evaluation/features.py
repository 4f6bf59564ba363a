"""Frozen features: what every evaluator sees of an encoder."""

from typing import NamedTuple

import keras
import numpy as np

from keras_ssl.data import ImageSet
from keras_ssl.encoders import as_encoder


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
    values = as_encoder(encoder).predict(images.batches(batch_size), verbose=0)
    return Features(np.asarray(values, np.float32), images.labels())


def raw_pixels(image_shape: tuple[int, int, int]) -> keras.Model:
    """The encoder that every encoder should beat: the pixels themselves, (N, H * W * C)."""
    return keras.Sequential([keras.layers.Input(image_shape), keras.layers.Flatten()])
