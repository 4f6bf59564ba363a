"""A learning rate of its own for each weight."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import decays, has_own_decay, replace_update, unscaled, variable_index
from keras_ssl._tensors import Tensor


def scale_learning_rates(
    optimizer: keras.optimizers.Optimizer, factors: Sequence[tuple[keras.Variable, float]]
) -> None:
    """Makes an optimizer multiply the learning rate by a factor of each variable, in place.

    The step is scaled, with its weight decay, and not the gradient: that would change nothing for
    Adam, which divides a gradient by its size. The optimizer has no new state, so its files are the
    same; call this again on the optimizer of a model that was loaded.

    Args:
        optimizer: An optimizer, built or not.
        factors: Pairs (variable, factor). Other variables have a factor of 1.

    Raises:
        ValueError: for a `keras.optimizers.MultiOptimizer`, for `Muon` and other optimizers that
            decay weights in a way of their own, and for `Nadam` on PyTorch.

    Example:
        >>> first, last = keras.Variable(1.0), keras.Variable(1.0)
        >>> optimizer = keras.optimizers.SGD(learning_rate=0.5)
        >>> scale_learning_rates(optimizer, [(first, 0.1)])
        >>> optimizer.apply([ops.ones(()), ops.ones(())], [first, last])
        >>> round(float(first.value), 3), round(float(last.value), 3)  # steps of 0.05 and 0.5
        (0.95, 0.5)
    """
    inner = unscaled(optimizer)
    if hasattr(inner, "optimizers"):  # `MultiOptimizer`, of Keras 3.15 and later.
        raise ValueError(
            "`optimizer` must be a single one where learning rates have factors (`layer_decay`). "
            f"Received: optimizer={inner.name!r}, a MultiOptimizer"
        )
    # Of Nadam, Keras' step on PyTorch does more than `update_step` does.
    is_nadam = isinstance(inner, keras.optimizers.Nadam) and keras.backend.backend() == "torch"
    if has_own_decay(inner) or is_nadam:
        raise ValueError(
            "`optimizer` must be another one where learning rates have factors (`layer_decay`), "
            f"such as AdamW. Received: optimizer={type(inner).__name__}"
        )
    of_index: dict[int, float] = {}
    # The class's own, so that a second call replaces what the first one did.
    update = type(inner).update_step

    def update_step(gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        if not of_index:  # The first step may build the optimizer.
            of_index.update((variable_index(inner, v), factor) for v, factor in factors)
        rate = learning_rate * of_index.get(variable_index(inner, variable), 1.0)
        if decays(inner, variable):
            decay = ops.cast(inner.weight_decay * rate, variable.dtype)
            inner.assign_sub(variable, variable * decay)
        update(inner, gradient, variable, rate)

    replace_update(inner, update_step)
