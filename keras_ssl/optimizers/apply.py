"""One step of an optimizer on several replicas, exact where it clips or scales the loss."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import clipped
from keras_ssl.replicas import replica_count, share, sum_over_replicas


def apply_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[Any]
) -> None:
    """One step of `optimizer` with the sum of all replicas' gradients.

    Keras sums gradients over the replicas too, but clips them before, and looks for overflow
    (`LossScaleOptimizer`) on the first replica alone. Where an optimizer does either, the sum is
    taken, and clipped, before Keras sees it, as equal parts: what it then does itself changes
    nothing. That is a second sum of all gradients.

    Args:
        optimizer: A built optimizer.
        gradients: This replica's gradients, its share, times the optimizer's loss scale.
        variables: Their variables.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    clips = any(
        getattr(inner or optimizer, limit) for limit in ("clipnorm", "clipvalue", "global_clipnorm")
    )
    if replica_count() > 1 and (clips or inner is not None):
        total = [g if g is None else sum_over_replicas(ops.convert_to_tensor(g)) for g in gradients]
        scale = optimizer.scale_loss(1.0)  # `loss_scale_factor` too: Keras clips what is unscaled.
        total = [g if g is None else g / ops.cast(scale, g.dtype) for g in total]
        total = clipped(inner or optimizer, total)
        gradients = [g if g is None else share(g * ops.cast(scale, g.dtype)) for g in total]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
