"""Gradients on any backend, compiled where the backend compiles."""

import keras
import numpy as np


def value_and_gradients(function, *arrays):
    """Returns a scalar function's value and its gradient at each array, as NumPy's arrays."""
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        @tf.function(autograph=False)
        def run(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = function(*tensors)
            return value, tape.gradient(value, tensors)

        value, gradients = run(*map(tf.constant, arrays))
    elif name == "jax":
        import jax

        places = tuple(range(len(arrays)))
        value, gradients = jax.jit(jax.value_and_grad(function, places))(*arrays)
    else:
        import torch

        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        value = function(*tensors)
        gradients = torch.autograd.grad(value, tensors)
    convert = keras.ops.convert_to_numpy
    return np.float64(convert(value)), [np.asarray(convert(g), "float64") for g in gradients]


def compiled(function):
    """Returns a function of arrays, compiled where the backend compiles."""
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if name == "jax":
        import jax

        return jax.jit(function)
    return lambda *arrays: function(*map(keras.ops.convert_to_tensor, arrays))
