"""Measures the same training on each backend of Keras that is installed, side by side in one run.

    python benchmarks/backends.py                                 # seed 0
    python benchmarks/backends.py --encoder resnet18 --batch-size 32 --turns 5

Each backend has a process of its own, and the processes take turns. A "step" is one of `fit`, of
two views of random images through encoder and projector, the criterion, the gradient and AdamW. A
criterion is its value and gradient alone, compiled where the backend compiles, at N samples and M
dimensions. "Views" are two of SimCLR of each image of a batch of bytes, made on the device. The
program prints the median time and its ratio to TensorFlow's, and the median CPU
time of all threads. On an accelerator, the whole table is of that device. (`pip install jax torch`)
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

BACKENDS = ("tensorflow", "jax", "torch")
SHAPES = ((256, 256), (1024, 2048))
METHODS = ("VICReg", "SimCLR")


def cases():
    """The names of what is measured."""
    criteria = [f"{name} {n} x {m}" for name in ("VICRegLoss", "NTXentLoss") for n, m in SHAPES]
    return [f"{method} step" for method in METHODS] + criteria + ["views"]


# --- In the process of a backend -----------------------------------------------------------------


def step(method, arguments):
    """Returns a function that does a few steps of `fit`, and says how many."""
    import keras
    import numpy as np

    from keras_ssl import encoders, models

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return (views,)

    size, rows = arguments.size, arguments.batch_size
    rng = np.random.RandomState(0)
    views = tuple(rng.uniform(size=(2, rows, size, size, 3)).astype("float32"))
    encoder = encoders.build_encoder(arguments.encoder, (size, size, 3))
    model = getattr(models, method)(encoder, "256-256-256")
    model.compile(keras.optimizers.AdamW(1e-3))

    def run():
        model.fit(Batches(), shuffle=False, verbose=0)
        return 4

    return run


def views(arguments):
    """Returns a function that makes the views of a batch on the device."""
    import keras
    import numpy as np

    from keras_ssl import data

    size = (arguments.size, arguments.size)
    images = np.random.RandomState(0).randint(256, size=(arguments.batch_size, *size, 3))
    images, policy = keras.ops.convert_to_tensor(images, "uint8"), data.simclr(size)
    make = compiled(lambda images, seed: policy(images, training=True, seed=[seed, seed]))

    def run():
        made = make(images, keras.ops.convert_to_tensor(1, "int32"))
        keras.ops.convert_to_numpy(made[1][0, 0, 0, 0])  # waits for the device
        return 1

    return run


def compiled(function):
    """Returns a function that is compiled where the backend compiles."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def criterion(name, n, m):
    """Returns a function that computes a criterion's value and gradient."""
    import keras
    import numpy as np

    from keras_ssl import losses

    loss = getattr(losses, name)()
    rng = np.random.RandomState(0)
    z = [keras.ops.convert_to_tensor(rng.normal(size=(n, m)), "float32") for _ in range(2)]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def both(*z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(*z)
            return tape.gradient(value, z)

    elif keras.backend.backend() == "jax":
        import jax

        both = jax.grad(loss, (0, 1))
    else:
        import torch

        z = [x.requires_grad_() for x in z]

        def both(*z):
            return torch.autograd.grad(loss(*z), z)

    both = compiled(both)

    def run():
        keras.ops.convert_to_numpy(both(*z)[0])  # waits for the device
        return 1

    return run


def work(arguments):
    """Measures a case for each line of the input."""
    functions = {}
    for line in sys.stdin:
        case = line.strip()
        if case not in functions:
            name, *rest = case.split()
            if case == "views":
                functions[case] = views(arguments)
            elif rest == ["step"]:
                functions[case] = step(name, arguments)
            else:
                functions[case] = criterion(name, int(rest[0]), int(rest[-1]))
            functions[case]()  # compiles
        wall, cpu = time.perf_counter(), time.process_time()
        count = functions[case]()
        found = (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count
        print(json.dumps(found), file=RESULTS, flush=True)


# --- In the process that asks --------------------------------------------------------------------


def ask(worker, case):
    """Returns the seconds, and the CPU seconds, of a case."""
    worker.stdin.write(case + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"A backend failed at {case!r}.")
    return json.loads(answer)


def main(arguments):
    """Prints the table."""
    names = [name for name in BACKENDS if importlib.util.find_spec(name)]
    workers = {
        name: subprocess.Popen(
            [sys.executable, *sys.argv, "--worker"],
            env={**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    print("| ms (CPU) | " + " | ".join(names) + " |\n|" + "---|" * (1 + len(names)))
    for case in cases():
        found = {name: [] for name in names}
        for _ in range(arguments.turns):
            for name, worker in workers.items():
                found[name].append(ask(worker, case))
        row = []
        for name in names:
            wall, cpu = (statistics.median(times) * 1e3 for times in zip(*found[name], strict=True))
            first = statistics.median(times[0] for times in found[names[0]]) * 1e3
            ratio = "" if name == names[0] else f", x {wall / first:.2f}"
            row.append(f"{wall:.1f} ({cpu:.1f}){ratio}")
        print(f"| {case} | " + " | ".join(row) + " |", flush=True)
    for worker in workers.values():
        worker.stdin.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet8")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        RESULTS, sys.stdout = sys.stdout, sys.stderr
        work(options)
    else:
        main(options)
