"""TensorFlow's own steps of optimizers, in the place of Keras' many operations."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_ssl._keras import (
    decays,
    has_own_update,
    moments_of,
    unscaled,
    updated_by,
    variable_index,
)
from keras_ssl._tensors import Tensor
from keras_ssl.optimizers import LARS

# Does a step of one variable: a function of the gradient, the variable and the learning rate.
Update = Callable[[Any, Any, Any], None]


@contextlib.contextmanager
def fused(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Opens a scope in which Adam, AdamW, SGD and LARS use TensorFlow's own optimizer steps.

    Adam's step in Keras is ten operations, each of which reads and writes all of a variable; here
    it is one, as are those of SGD and of LARS' momentum. `benchmarks/optimizers.py` measures what
    that saves. The steps, and the optimizer's variables, are Keras' to rounding. The scope changes
    nothing on replicas, whose steps are traced side by side, nor where
    `keras_ssl.optimizers.scale_learning_rates` was called, nor for AMSGrad and other optimizers,
    nor for gradients of a few rows.

    Args:
        optimizer: The optimizer, which may be a `keras.optimizers.LossScaleOptimizer`.
    """
    inner = unscaled(optimizer)
    make_update = _UPDATES.get(type(inner))  # Not of a subclass, which may do anything.
    is_stock = not (has_own_update(inner) or getattr(inner, "amsgrad", False))
    if make_update is None or not is_stock or tf.distribute.has_strategy():
        yield
        return
    with updated_by(inner, functools.partial(_step, inner, make_update(inner))):
        yield


def _step(optimizer: Any, update: Update, gradient: Any, variable: Any, learning_rate: Any) -> None:
    """Does one step on a variable of TensorFlow, with its weight decay."""
    dtype = variable.dtype
    learning_rate = ops.cast(learning_rate, dtype)
    if decays(optimizer, variable):
        decay = ops.cast(optimizer.weight_decay, dtype) * learning_rate
        optimizer.assign_sub(variable, variable * decay)
    if isinstance(gradient, tf.IndexedSlices):  # of an embedding: a few rows
        type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
        return
    update(ops.cast(gradient, dtype), variable, learning_rate)


def _adam(optimizer: keras.optimizers.Adam) -> Update:
    @functools.cache
    def constants(dtype: Any) -> dict[str, Tensor]:
        count = ops.cast(optimizer.iterations + 1, dtype)
        betas = {"beta1": optimizer.beta_1, "beta2": optimizer.beta_2}
        found = {name: ops.convert_to_tensor(beta, dtype) for name, beta in betas.items()}
        # As in Keras, where `cast` rounds a Python number to float32 first.
        powers = {
            f"{name}_power": ops.power(ops.cast(beta, dtype), count) for name, beta in betas.items()
        }
        return {**found, **powers, "epsilon": ops.convert_to_tensor(optimizer.epsilon, dtype)}

    def update(gradient: Tensor, variable: Any, rate: Tensor) -> None:
        momentum, velocity = moments_of(optimizer, variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            lr=rate,
            grad=gradient,
            **constants(variable.dtype),
        )

    return update


def _sgd(optimizer: keras.optimizers.SGD) -> Update:
    def update(gradient: Tensor, variable: Any, rate: Tensor) -> None:
        if optimizer.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=optimizer.momentums[variable_index(optimizer, variable)].value.handle,
            lr=rate,
            grad=gradient,
            momentum=ops.cast(optimizer.momentum, variable.dtype),
            use_nesterov=optimizer.nesterov,
        )

    return update


def _lars(optimizer: LARS) -> Update:
    def norm(x: Tensor) -> Tensor:
        return ops.sqrt(2 * tf.nn.l2_loss(x))

    def update(gradient: Tensor, variable: Any, rate: Tensor) -> None:
        gradient, rate = optimizer.adapted(gradient, variable, rate, norm)
        if optimizer.learning_rate_in_momentum:
            gradient, rate = rate * gradient, ops.ones_like(rate)
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=optimizer.momentum_of(variable).value.handle,
            lr=rate,
            grad=gradient,
            momentum=ops.convert_to_tensor(optimizer.momentum, variable.dtype),
        )

    return update


# By class, a function that makes the update of an optimizer, and may read its constants once.
_UPDATES: dict[Any, Callable[[Any], Update]] = {
    keras.optimizers.Adam: _adam,
    keras.optimizers.AdamW: _adam,
    keras.optimizers.SGD: _sgd,
    LARS: _lars,
}
