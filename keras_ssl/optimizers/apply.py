"""An optimizer step on several replicas that stays exact with clipping and loss scaling."""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import clipped, schedule_read_once
from keras_ssl.replicas import replica_count, share, sum_over_replicas


def apply_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[Any]
) -> None:
    """Does one step of `optimizer` with the sum of all replicas' gradients.

    Keras also sums gradients over the replicas, but it clips them before, and it looks for overflow
    (`LossScaleOptimizer`) only on the first replica. If an optimizer does either, this function
    sums and clips the gradients first, and gives Keras an equal part on each replica, so that
    Keras' own clipping changes nothing. The price is a second sum of all gradients.

    Args:
        optimizer: A built optimizer.
        gradients: This replica's share of the gradients, times the optimizer's loss scale.
        variables: The variables of the gradients.
    """
    if not variables:
        return  # Everything is frozen, and a probe alone is trained.
    inner = getattr(optimizer, "inner_optimizer", None)
    clips = any(
        getattr(inner or optimizer, limit) for limit in ("clipnorm", "clipvalue", "global_clipnorm")
    )
    if replica_count() > 1 and (clips or inner is not None):
        total = [g if g is None else sum_over_replicas(ops.convert_to_tensor(g)) for g in gradients]
        # The scale includes `loss_scale_factor`, because Keras clips unscaled gradients.
        scale = optimizer.scale_loss(1.0)
        total = [g if g is None else g / ops.cast(scale, g.dtype) for g in total]
        total = clipped(inner or optimizer, total)
        gradients = [g if g is None else share(g * ops.cast(scale, g.dtype)) for g in total]
    # The steps of several replicas are traced side by side, with one optimizer.
    alone = replica_count() == 1
    with schedule_read_once(optimizer) if alone else contextlib.nullcontext():
        if keras.backend.backend() == "jax":
            _apply_on_values(optimizer, gradients, variables)
        else:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _apply_on_values(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[Any]
) -> None:
    """Does one step as Keras does it on JAX, where `LossScaleOptimizer` knows no other way."""
    if not optimizer.built:
        optimizer.build(variables)
    of_optimizer = optimizer.variables
    values = optimizer.stateless_apply(
        [v.value for v in of_optimizer], gradients, [v.value for v in variables]
    )
    for some, new in zip((variables, of_optimizer), values, strict=True):
        for variable, value in zip(some, new, strict=True):
            variable.assign(value)
