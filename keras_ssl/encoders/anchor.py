"""Keeps an encoder that goes on learning near where it came from."""

from typing import Any

import keras

from keras_ssl.encoders.adapt import as_encoder, trust
from keras_ssl.encoders.input_range import UNIT_INPUT
from keras_ssl.encoders.pooling import pooled
from keras_ssl.layers import GramAnchor


def anchored(
    encoder: keras.layers.Layer, weight: float = 1.0, input_range: Any = None
) -> keras.Model:
    """Makes an encoder whose similarities between images stay near those that it has now.

    In training, `weight * ||A A^T - B B^T||_F^2 / N^2` joins the loss of every view, where A holds
    its representations of the N images and B those of a frozen copy, made now; rows have norm 1. N
    are the images of a replica, or of a micro-batch. The logged loss has the term in it, unless
    there are micro-batches. Any method trains it:

        model = models.VICReg(encoders.anchored(encoder, weight=10.0))

    The weights are those of `encoder`, which is what to judge, save and use afterwards.

    Args:
        encoder: A trained Keras model or layer, which knows the shape of its images.
        weight: At least 0. Default 1.
        input_range: The range of images that it was trained on; see `as_encoder`.

    Returns:
        A Keras model from images in [0, 1] to (N, D). With it, methods that train on several
        replicas need `micro_batch_size`.

    Raises:
        TypeError: if `encoder` is not a Keras layer.
        ValueError: if the weight is negative, or the encoder does not know the shape of its images.

    Example:
        The term is zero as long as nothing was trained.

        >>> import keras
        >>> import numpy as np
        >>> images = np.arange(32.0).reshape(2, 4, 4, 1) / 32
        >>> encoder = keras.Sequential(
        ...     [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
        ... )
        >>> model = anchored(encoder, weight=10.0)
        >>> representations = model(images, training=True)
        >>> tuple(representations.shape), round(float(model.losses[0]), 3)
        ((2, 3), 0.0)

    References:
        - Simeoni et al.: DINOv3, 2025, section 4 (Gram anchoring).
    """
    encoder = as_encoder(encoder, input_range)
    if not getattr(encoder, "inputs", None):
        raise ValueError(
            "`encoder` must know the shape of its images, so that it can be copied. "
            f"Received: encoder={encoder!r}"
        )
    images = keras.Input(encoder.input_shape[1:], name=UNIT_INPUT)
    outputs = GramAnchor(encoder, weight, name="gram_anchor")([images, pooled(encoder(images))])
    return trust(keras.Model(images, outputs, name=f"{encoder.name}_anchored"))
