"""Measures what the optimizer takes of a step with a wide projector, with and without fusing.

    python benchmarks/optimizers.py
    python benchmarks/optimizers.py --projector 2048-2048-2048 --batch-size 256

A step is VICReg's on ResNet-8 and random images of 32 px. "by Keras" is the same step without
`keras_ssl.training.optimizer_steps.fused`. The two take turns, and the program prints the median
time of a step in milliseconds; then, likewise, of the optimizer alone on the same weights.
"""

import argparse
import contextlib
import os
import statistics
import time
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from keras_ssl import encoders, models, optimizers
from keras_ssl.optimizers.apply import apply_gradients
from keras_ssl.training import optimizer_steps

OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(1e-3, 0.9),
    "AdamW": lambda: keras.optimizers.AdamW(1e-3),
    "LARS": lambda: optimizers.LARS(0.3),
}


def unfused():
    """A scope in which steps are traced with Keras' updates."""
    return mock.patch.object(optimizer_steps, "fused", lambda _: contextlib.nullcontext())


def whole_step(make, projector, scope):
    """VICReg's step."""
    model = models.VICReg(encoders.build_encoder("resnet8", (32, 32, 3)), projector)
    model.compile(make())

    def step(views):
        with scope():
            model.train_on_batch(views)

    return step


def optimizer_alone(make, projector, scope):
    """The optimizer's part of it, with constant gradients."""
    model = models.VICReg(encoders.build_encoder("resnet8", (32, 32, 3)), projector)
    model.build((None, 32, 32, 3))
    optimizer = make()
    optimizer.build(model.trainable_variables)
    gradients = [tf.fill(v.shape, 1e-4) for v in model.trainable_variables]

    @tf.function(autograph=False)
    def update():
        with optimizer_steps.fused(optimizer):
            apply_gradients(optimizer, gradients, model.trainable_variables)

    def step(_):
        with scope():
            update()

    return step


def measure(contenders, batch, turns):
    """Returns the median seconds of each contender, which take turns."""
    seconds = {label: [] for label in contenders}
    for turn in range(turns + 1):
        for label, step in contenders.items():
            start = time.perf_counter()
            step(batch)
            if turn:  # The first one is traced.
                seconds[label].append(time.perf_counter() - start)
    return {label: statistics.median(values) for label, values in seconds.items()}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS), choices=OPTIMIZERS)
    parser.add_argument("--projector", default="8192-8192-8192")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.RandomState(0)
    shape = (arguments.batch_size, 32, 32, 3)
    batch = tuple(rng.rand(*shape).astype("float32") for _ in range(2))
    for name in arguments.optimizers:
        for part, build in (("step", whole_step), ("alone", optimizer_alone)):
            scopes = {"ours": contextlib.nullcontext, "by Keras": unfused}
            contenders = {
                label: build(OPTIMIZERS[name], arguments.projector, scope)
                for label, scope in scopes.items()
            }
            times = measure(contenders, batch, arguments.turns)
            ratio = times["by Keras"] / times["ours"]
            figures = ", ".join(f"{label} {1000 * t:.0f} ms" for label, t in times.items())
            print(f"{name}, {part}: {figures} ({ratio:.2f})", flush=True)
            del contenders
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
