"""Measures what micro-batches cost and save: peak memory and time of a step by batch size.

    python benchmarks/gradient_caching.py

Trains SimCLR with a ResNet-8 of width 16 on random images of 32 x 32 pixels. Every row compares the
whole batch at once with micro-batches of 256, in turns. Peak memory is that of a first step, above
what the process held before; each is measured in a process of its own.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from memory import peak_above

from keras_ssl import encoders, models

MICRO_BATCH = 256
SHAPE = (32, 32, 3)
# A larger batch at once would take more memory than the machine has.
LARGEST_WHOLE = 2048


def make_step(batch_size, micro_batch_size):
    """Returns a function that takes one training step on a batch of random images."""
    keras.utils.set_random_seed(0)
    model = models.SimCLR(encoders.resnet8(SHAPE), "128-64", micro_batch_size=micro_batch_size)
    model.compile(keras.optimizers.SGD(0.1))
    model.build((None, *SHAPE))
    model.optimizer.build(model.trainable_variables)
    images = np.random.RandomState(0).rand(2, batch_size, *SHAPE).astype("float32")
    pair = tuple(tf.constant(view) for view in images)
    step = tf.function(lambda: model.train_step((pair,)), autograph=False)
    return lambda: float(step()["loss"])


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    peaks = {}
    for batch in options.batches:
        for micro in (None, MICRO_BATCH):
            if micro is not None or batch <= LARGEST_WHOLE:
                # The defaults bind the loop's variables; the fork runs the function at once.
                peaks[batch, micro] = peak_above(lambda b=batch, m=micro: make_step(b, m))
    print("| batch | whole, MiB | micro-batches, MiB | whole, s | micro-batches, s | time, x |")
    print("|---|---|---|---|---|---|")
    for batch in options.batches:
        kinds = [micro for micro in (None, MICRO_BATCH) if (batch, micro) in peaks]
        steps = {micro: make_step(batch, micro) for micro in kinds}
        times = {micro: [] for micro in kinds}
        for turn in range(options.turns + 1):
            for micro, step in steps.items():
                begin = time.perf_counter()
                step()
                if turn:  # The first turn traces.
                    times[micro].append(time.perf_counter() - begin)
        seconds = {micro: statistics.median(values) for micro, values in times.items()}
        whole = None in kinds
        print(
            f"| {batch} | {f'{peaks[batch, None]:.0f}' if whole else '-'} | "
            f"{peaks[batch, MICRO_BATCH]:.0f} | {f'{seconds[None]:.2f}' if whole else '-'} | "
            f"{seconds[MICRO_BATCH]:.2f} | "
            f"{f'{seconds[MICRO_BATCH] / seconds[None]:.2f}' if whole else '-'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
