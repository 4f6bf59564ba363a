"""Trains a model with `fit` on some replicas, and writes logs and weights for a comparison.

    python -m tests.distribution.fit_program 2 '[{"method": "VICReg", "options": {}, "to": FILE}]'

Replicas are logical devices, which must be set before TensorFlow starts, so this is a process of
its own.
"""

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf


def make_strategy(replicas):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
    )
    if replicas == 1:
        return None
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def make_optimizer(name, **options):
    from keras_ssl import optimizers

    kinds = {
        "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, **options),
        "adam": lambda: keras.optimizers.Adam(1e-2, **options),
        "adamw": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.05, **options),
        "lars": lambda: optimizers.LARS(0.5, weight_decay=1e-4, **options),
    }
    return kinds[name]()


def encoder(batch_norm=True):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(4, 3, use_bias=False),
            *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []),
            layers.ReLU(),
            layers.Flatten(),
            # No bias, because the projector's batch normalization would leave it to chance.
            layers.Dense(8, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3)),
        ]
    )


def views(images, batch_size, drop_remainder=True):
    """Returns views whose images differ in every row, in a fixed order."""
    rng = np.random.RandomState(0)
    x = (
        rng.rand(images, 6, 6, 1).astype("float32")
        * np.linspace(0.2, 1, images)[:, None, None, None]
    )
    pair = tuple(np.clip(x + 0.1 * rng.randn(*x.shape), 0, 1).astype("float32") for _ in range(2))
    labels = np.arange(images) % 3
    dataset = tf.data.Dataset.from_tensor_slices((pair, labels))
    return dataset.batch(batch_size, drop_remainder=drop_remainder)


def train(strategy, method, options):
    """Returns the logs of every epoch and of an evaluation, and all weights."""
    from keras_ssl import models

    keras.utils.set_random_seed(0)
    options = dict(options)
    floatx = options.pop("floatx", "float64")
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(options.pop("policy", floatx))
    batch_size, images = options.pop("batch_size", 8), options.pop("images", 24)
    drop_remainder = options.pop("drop_remainder", True)
    optimizer = options.pop("optimizer", "sgd")
    clipping = options.pop("clipping", {})
    loss_scale = options.pop("loss_scale", None)
    compile_options = options.pop("compile", {})
    model_options = options.pop("model", {})
    batch_norm = options.pop("batch_norm", True)
    epochs = options.pop("epochs", 2)
    if options:
        raise ValueError(f"unknown options {list(options)}")
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = getattr(models, method)(encoder(batch_norm), "12-6", probe=3, **model_options)
        optimizer = make_optimizer(optimizer, **clipping)
        if loss_scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=loss_scale)
        model.compile(optimizer, **compile_options)
        model.build((None, 6, 6, 1))
    dataset = views(images, batch_size, drop_remainder)
    history = model.fit(dataset, epochs=epochs, shuffle=False, verbose=0)
    logs = {name: values for name, values in history.history.items()}
    evaluated = model.evaluate(dataset, verbose=0, return_dict=True)
    predicted = model.predict(dataset.map(lambda pair, _: pair[0]), verbose=0)
    return {
        **{f"log {name}": np.asarray(values) for name, values in logs.items()},
        **{f"evaluated {name}": np.asarray(value) for name, value in evaluated.items()},
        **{
            f"weight {i} {variable.path}": keras.ops.convert_to_numpy(variable)
            for i, variable in enumerate(model.variables)
        },
        "predicted": np.asarray(predicted, "float64"),  # NumPy has no bfloat16
        "iterations": np.asarray(model.optimizer.iterations),
    }


def train_all(strategy, jobs):
    """Trains as each job says, and writes the logs and weights to its file."""
    for job in jobs:
        keras.backend.clear_session()  # Names do not count what was made before.
        np.savez(job["to"], **train(strategy, job["method"], job["options"]))


if __name__ == "__main__":
    train_all(make_strategy(int(sys.argv[1])), json.loads(sys.argv[2]))
