"""Measures what a criterion costs each of several replicas: computing time, and bytes to send.

    python benchmarks/replicas.py      # the table

The replicas are logical devices of one machine, which take turns on its cores. The time of a step,
forward and backward, is that of all replicas; one of them computes for that time divided by their
number. "gathered" is the same criterion as a user would write it who never thought of replicas: it
sees the embeddings of all, and every replica computes all of it. Both take turns in one run.

Bytes are counted where they are given to TensorFlow's collectives. For a sum over R replicas, each
replica sends 2 (R - 1) / R of the tensor (in a ring); for a gathering, it sends its own part R - 1
times.
"""

import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from criteria import without_row

from keras_ssl import losses, replicas

REPLICAS = (2, 4)
CASES = [
    ("vicreg", losses.VICRegLoss, (4096, 256)),
    ("vicreg", losses.VICRegLoss, (512, 4096)),
    ("barlow-twins", losses.BarlowTwinsLoss, (4096, 256)),
    ("barlow-twins", losses.BarlowTwinsLoss, (512, 4096)),
    ("tcr", losses.CodingRateLoss, (4096, 256)),
    ("vicreg-exp", losses.VICRegExpLoss, (4096, 512)),
    ("vicreg-exp", losses.VICRegExpLoss, (512, 2048)),
    ("spectral", losses.SpectralContrastiveLoss, (4096, 256)),
    ("simclr", losses.NTXentLoss, (4096, 128)),
    ("dcl", losses.DCLLoss, (4096, 128)),
    ("vicreg-ctr", losses.VICRegCtrLoss, (4096, 128)),
]
# A criterion without a row is measured with its defaults.
CASES += [(name, kind, (4096, 256)) for name, kind in without_row(row[1] for row in CASES).items()]
TURNS = 7


def gathered(kind):
    """Returns the criterion as if it had never been marked `on_shards`."""
    return type("Gathered", (kind,), {"terms": lambda self, *z: kind.terms(self, *z)})


class Bytes:
    """Counts the bytes that one replica sends, while a step is traced."""

    def __enter__(self):
        self.sent = 0.0
        self.originals = replicas._sum, replicas._gather

        def counting(function, share):
            def counted(context, x):
                count = context.num_replicas_in_sync
                # Every replica traces the step, so each counts its share of one replica's bytes.
                self.sent += share(count) * np.prod(x.shape) * x.dtype.size / count
                return function(context, x)

            return counted

        replicas._sum = counting(self.originals[0], lambda count: 2 * (count - 1) / count)
        replicas._gather = counting(self.originals[1], lambda count: count - 1)
        return self

    def __exit__(self, *error):
        replicas._sum, replicas._gather = self.originals


def make_step(criterion, z, strategy):
    """Returns a step on the replicas of `strategy`, and the bytes that each sends in it."""
    rows = len(z[0]) // strategy.num_replicas_in_sync
    pair = strategy.experimental_distribute_values_from_function(
        lambda c: tuple(tf.constant(a[c.replica_id_in_sync_group * rows :][:rows]) for a in z)
    )

    def on_replica(pair):
        with tf.GradientTape() as tape:
            tape.watch(pair)
            loss = criterion(*pair)
        return tape.gradient(loss, pair)

    step = tf.function(lambda pair: strategy.run(on_replica, args=(pair,)), autograph=False)
    with Bytes() as counter:
        step(pair)
    return lambda: strategy.experimental_local_results(step(pair)[0])[0].numpy(), counter.sent


def measure(count):
    """Prints the rows for one number of replicas."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
    )
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    many = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
    rng = np.random.RandomState(0)
    for name, kind, (n, m) in CASES:
        z_1 = rng.randn(n, m).astype("float32")
        z = z_1, z_1 + 0.5 * rng.randn(n, m).astype("float32")
        steps = {
            "one": make_step(kind(), z, one),
            "ours": make_step(kind(), z, many),
            "gathered": make_step(gathered(kind)(), z, many),
        }
        times = {form: [] for form in steps}
        for _ in range(TURNS):
            for form, (step, _) in steps.items():
                begin = time.perf_counter()
                step()
                times[form].append(time.perf_counter() - begin)
        seconds = {form: statistics.median(values) for form, values in times.items()}
        shares = [seconds[form] / count / seconds["one"] for form in ("ours", "gathered")]
        sent = [steps[form][1] / 2**20 for form in ("ours", "gathered")]
        print(
            f"| {name} | {n}, {m} | {count} | {1e3 * seconds['one']:.1f} | {100 * shares[0]:.0f} | "
            f"{100 * shares[1]:.0f} | {sent[0]:.2f} | {sent[1]:.2f} |",
            flush=True,
        )


def main():
    """Prints the table.

    Each number of replicas needs a process of its own, because TensorFlow fixes its devices when it
    starts.
    """
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    print(
        "| criterion | N, M | replicas | one device, ms | one of the replicas, % | gathered, % ",
        end="",
    )
    print("| sent, MiB | gathered, MiB |\n|---|---|---|---|---|---|---|---|", flush=True)
    for count in REPLICAS:
        subprocess.run([sys.executable, __file__, str(count)], check=True)


if __name__ == "__main__":
    main()
