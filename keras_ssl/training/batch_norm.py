"""Batch normalization over the batch of all replicas."""

import functools
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import all_layers, replace_moments
from keras_ssl._tensors import Tensor
from keras_ssl.replicas import gather_batch, replica_count


def synchronize(layer: keras.layers.Layer) -> None:
    """Makes every `keras.layers.BatchNormalization` in `layer` use the batch of all replicas.

    It changes the layers in place. Keras' own `synchronized=True` sums x and x^2 in three
    collectives per layer, and subtracts the square of the mean; to trace each collective,
    TensorFlow walks through the graphs of all replicas. Here a single collective carries the
    replicas' counts, means and sums of squared differences.

    Args:
        layer: A layer or a model; its inner layers are included.
    """
    for inner in all_layers(layer):
        if isinstance(inner, keras.layers.BatchNormalization):
            replace_moments(inner, functools.partial(_moments, inner))


def _moments(layer: keras.layers.BatchNormalization, x: Tensor, mask: Any) -> tuple[Any, Any]:
    """Returns the mean and biased variance of x over all axes but the layer's, each (C,)."""
    if mask is not None:
        raise ValueError(
            "Batch normalization of masked inputs is not exact on several replicas. "
            f"Received: a mask for the layer {layer.name!r}"
        )
    axes = [axis for axis in range(len(x.shape)) if axis != layer.axis % len(x.shape)]
    if replica_count() == 1:
        return ops.moments(x, axes=axes)
    channels = x.shape[layer.axis]
    # A replica may get no images of the last batch of an epoch.
    count = ops.cast(ops.prod(ops.shape(x)) // channels, x.dtype)
    mean = ops.sum(x, axis=axes, keepdims=True) / ops.maximum(count, 1)
    squares = ops.sum(ops.square(x - ops.stop_gradient(mean)), axis=axes)

    parts = ops.concatenate([count[None], ops.reshape(mean, (-1,)), squares])
    parts = gather_batch(parts[None])  # (replicas, 1 + 2 C)
    counts, means = parts[:, :1], parts[:, 1 : 1 + channels]
    total = ops.sum(counts)
    mean = ops.sum(counts * means, axis=0) / total
    between = ops.sum(counts * ops.square(means - mean), axis=0)
    return mean, (ops.sum(parts[:, 1 + channels :], axis=0) + between) / total
