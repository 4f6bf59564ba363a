"""What oneDNN gives on this CPU: a step with it and without, in turns, each in its own process.

    python benchmarks/onednn.py                    # seed 0, five minutes

TensorFlow convolves by oneDNN by itself only on CPUs with AVX512-VNNI or newer; there, both columns
are the same. A step is VICReg with a projector of 256-256-256 and AdamW, on random views that are
already made. Prints the CPU time of a step, all threads together: medians over the turns of the
median of a process, and the ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ENCODERS = {"resnet8-strided": 256, "resnet8-wide": 64, "resnet18": 16}
STEPS = 8


def measure(name: str) -> float:
    """Returns the CPU time of a step, in seconds."""
    import keras
    import numpy as np

    from keras_ssl import encoders, models

    keras.utils.set_random_seed(0)
    model = models.VICReg(encoders.build_encoder(name, (32, 32, 3)), "256-256-256")
    model.compile(keras.optimizers.AdamW(1e-3))
    draw = np.random.default_rng(0).random
    views = tuple(draw((ENCODERS[name], 32, 32, 3), "float32") for _ in range(2))
    times = []
    for _ in range(2 + STEPS):  # The first two make the graph, and warm up.
        start = time.process_time()
        model.train_on_batch(views)
        times.append(time.process_time() - start)
    return statistics.median(times[2:])


def main() -> None:
    """Measures in turns, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", choices=ENCODERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    print("| encoder, batch | with oneDNN, ms | without, ms | ratio |\n|---|---|---|---|")
    for name in options.encoders:
        found: dict[str, list[float]] = {"1": [], "0": []}
        for _ in range(options.turns):
            for value, times in found.items():
                done = subprocess.run(
                    [sys.executable, __file__, "--measure", name],
                    stdout=subprocess.PIPE,
                    check=True,
                    env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": value, "TF_CPP_MIN_LOG_LEVEL": "3"},
                )
                times.append(json.loads(done.stdout.decode().splitlines()[-1]))
        ours, without = (1000 * statistics.median(times) for times in found.values())
        print(f"| {name}, {ENCODERS[name]} | {ours:.0f} | {without:.0f} | × {without / ours:.2f} |")


if __name__ == "__main__":
    main()
