"""Checks against options and layers that would silently change the training."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import keras
import numpy as np

from keras_ssl._keras import all_layers, cross_device_ops, own_state, unscaled
from keras_ssl._tensorflow import tf
from keras_ssl._tensors import Tensor

_devices: set[frozenset[str]] = set()  # The one set of devices that trains in this process.


def check_devices(strategy: tf.distribute.Strategy) -> None:
    """Refuses a second set of replicas in one process, for which TensorFlow would abort.

    Args:
        strategy: A strategy of several replicas that is about to train.

    Raises:
        ValueError: if another set of devices has trained before.
    """
    # These do not use TensorFlow's collectives, whose groups a process cannot change.
    without_collectives = (
        tf.distribute.HierarchicalCopyAllReduce,
        tf.distribute.NcclAllReduce,
        tf.distribute.ReductionToOneDevice,
    )
    if isinstance(cross_device_ops(strategy), without_collectives):
        return
    devices = frozenset(strategy.extended.worker_devices)
    if _devices - {devices}:
        (before,) = _devices
        raise ValueError(
            "A process can train with only one set of replicas: start another process for another "
            f"set. Received: devices {sorted(devices)}, after {sorted(before)}"
        )
    _devices.add(devices)


def check_optimizer(optimizer: keras.optimizers.Optimizer | None) -> None:
    """Refuses an option of an optimizer that does not work on several replicas.

    Args:
        optimizer: The model's optimizer, or `None`, which Keras handles.

    Raises:
        ValueError: if `ema_overwrite_frequency` is set.
    """
    optimizer = unscaled(optimizer)
    frequency = getattr(optimizer, "ema_overwrite_frequency", None)
    if frequency:
        raise ValueError(
            "An optimizer with `ema_overwrite_frequency` does not work on several replicas in "
            "Keras 3.15 (keras issue 20582). `use_ema` without it does. "
            f"Received: ema_overwrite_frequency={frequency}"
        )


def warn_of_own_statistics(model: keras.Model) -> None:
    """Warns of layers whose state differs between replicas. Call it after a step.

    It finds, for example, batch statistics that a layer takes from its own replica's images. It
    does not find a layer that normalizes by its replica's batch but keeps no state.

    Args:
        model: A model of several replicas.
    """
    states = list(_states(model))
    strategy = model.distribute_strategy

    @tf.function
    def copies() -> Tensor:
        def copy() -> Tensor:
            flat = [tf.reshape(tf.cast(v.value, tf.float32), [-1]) for _, v in states]
            return tf.concat(flat, axis=0)

        own = strategy.run(copy)
        return own, strategy.reduce("MEAN", own, axis=None)

    if not states:
        return
    own, mean = copies()
    ends = np.cumsum([int(np.prod(v.shape)) for _, v in states])[:-1]
    means = np.split(mean.numpy(), ends)
    # From other machines, only the mean is known.
    locals_ = [np.split(x.numpy(), ends) for x in strategy.experimental_local_results(own)]
    names = {
        f"{layer.name!r} ({type(layer).__name__})": None
        for i, (layer, _) in enumerate(states)
        # Rounding, about 1e-7, does not count as a difference.
        if any(np.abs(x[i] - means[i]).max() > 1e-5 * np.abs(means[i]).max() for x in locals_)
    }
    if names:
        warnings.warn(
            f"The state of these layers differs from replica to replica: {', '.join(names)}. They "
            "see only the images of their own replica, so the training is not the same as on one "
            "device. Use keras.layers.BatchNormalization, which is synchronized, or take the "
            "statistics with keras_ssl.distribution.batch_mean.",
            UserWarning,
            stacklevel=2,
        )


def _states(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, keras.Variable]]:
    """Yields the float variables that layers may change when called, with their layers."""
    for layer in all_layers(model):
        for variable in own_state(layer):
            if keras.backend.is_float_dtype(variable.dtype) and variable.shape != (0,):
                yield layer, variable
