"""Batch normalization while training: over all replicas, and in one operation on one device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_ssl._backend import has_accelerator
from keras_ssl._keras import all_layers, called_as, has_own_moments, replace_moments
from keras_ssl._tensorflow import tf
from keras_ssl._tensors import Tensor
from keras_ssl.replicas import gather_batch, replica_count

# TensorFlow's own layers hand cuDNN at least this epsilon. Only in a channel that is constant does
# it differ from 1e-5 by more than rounding.
_SMALLEST_ON_GPU = 1.001e-5


@contextlib.contextmanager
def fused(layer: keras.layers.Layer) -> Iterator[None]:
    """Opens a scope in which batch normalization is one operation while it trains.

    There, every `keras.layers.BatchNormalization` in `layer` that trains on a batch uses
    `FusedBatchNormV3` of TensorFlow in place of some ten operations of Keras: `benchmarks/step.py`
    measures what that saves. Outputs, gradients and moving statistics are those of Keras to
    rounding. Layers, their files and what they do outside the scope stay as they are. Layers that
    `synchronize` has changed are left alone.

    Args:
        layer: A layer or a model; its inner layers are included.
    """
    with contextlib.ExitStack() as stack:
        for inner in all_layers(layer):
            if _can_be_fused(inner):
                stack.enter_context(called_as(inner, functools.partial(_fused_call, inner)))
        yield


def _can_be_fused(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and type(layer).call is keras.layers.BatchNormalization.call
        and "call" not in vars(layer)
        and not (layer.renorm or layer.synchronized or has_own_moments(layer))
    )


def _fused_call(
    layer: keras.layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None
) -> Tensor:
    """Does what `layer.call` does."""
    rank = len(inputs.shape)
    is_last = layer.axis % rank == rank - 1
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    is_known = dtype in ("float32", "float16", "bfloat16") and rank in (2, 4)
    if not (training and layer.trainable and is_last and is_known) or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    scale = layer.gamma if layer.scale else tf.ones(channels)
    offset = layer.beta if layer.center else tf.zeros(channels)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs if rank == 4 else inputs[:, None, None, :],
        scale=ops.cast(scale, "float32"),
        offset=ops.cast(offset, "float32"),
        mean=[],
        variance=[],
        epsilon=max(layer.epsilon, _SMALLEST_ON_GPU) if has_accelerator() else layer.epsilon,
    )
    # Keras moves toward the biased variance; that of the operation divides by one less.
    count = tf.cast(tf.size(inputs, tf.int64) // channels, tf.float32)
    variance *= tf.maximum(count - 1, 1) / tf.maximum(count, 1)
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        old = ops.cast(moving, "float32")
        moving.assign(old * layer.momentum + new * (1 - layer.momentum))
    return ops.cast(outputs if rank == 4 else outputs[:, 0, 0], layer.compute_dtype)


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
