"""Measures how time and memory grow: with the batch, the projector, the images, and the features.

    python benchmarks/growth.py            # runs/growth.json and growth.png, 6 minutes, seed 0
    python benchmarks/growth.py --most-files 100000 --panels files

Each point is measured in a process of its own. The panels:

- batch: a step of VICReg on ResNet-8, strided, at 32 px; median seconds, and the peak of memory
- projector: the same at a batch of 128, with three layers of each width
- images: arrays of 8 x 8 bytes; seconds until `make_views` gives its first batch of 256, and then
  for each further one; the peak of memory above the arrays
- files: JPEGs of 64 px on a disk; seconds of `from_folder`, until the first batch, and for each
  further one; the peak of memory
- cores: seconds of 256 images' views at 128 px, as `make_views` gives them, on 1 core and on 2
- features: seconds of kNN and of the linear probe for 2,000 queries, by features of 128 numbers;
  the peak of memory above the features

On log axes, growth in proportion is a line of slope 1. The program prints the slope of the upper
half of each curve.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from memory import peak_from_here

PANELS = {
    "batch": [2**k for k in range(7, 13)],
    "projector": [2**k for k in range(8, 14)],
    "images": [10**3, 10**4, 10**5, 10**6],
    "files": [1000, 3000, 10_000, 30_000],
    "cores": [1, 2],
    "features": [1000, 3000, 10_000, 30_000, 100_000],
}


def _step(batch, projector):
    import keras

    from keras_ssl import encoders, models

    keras.utils.set_random_seed(0)
    model = models.VICReg(encoders.build_encoder("resnet8-strided", (32, 32, 3)), projector)
    model.compile(keras.optimizers.AdamW(1e-3))
    rng = np.random.RandomState(0)
    views = tuple(rng.rand(batch, 32, 32, 3).astype("float32") for _ in range(2))
    above, seconds = peak_from_here(), []
    for _ in range(6):
        start = time.perf_counter()
        model.train_on_batch(views)
        seconds.append(time.perf_counter() - start)
    return {"step, s": statistics.median(seconds[1:]), "memory, MiB": above()}


def batch(size):
    """A step by the batch."""
    return _step(size, "256-256-256")


def projector(width):
    """A step by the projector."""
    return _step(128, f"{width}-{width}-{width}")


def _batches(images):
    """Seconds until the first batch of views, and for each further one."""
    from keras_ssl import data

    start = time.perf_counter()
    batches = iter(data.make_views(images, data.tiny_gray(), 256))
    next(batches)
    first, times = time.perf_counter() - start, []
    for _ in range(min(30, images.size // 256 - 1)):
        start = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - start)
    return {"first batch, s": first, "next batch, s": statistics.mean(times)}


def images(count):
    """Batches of arrays."""
    from keras_ssl import data

    array = np.random.RandomState(0).randint(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    data.make_views(data.from_arrays(array[:256]), data.tiny_gray(), 128)  # imports
    above = peak_from_here()
    found = _batches(data.from_arrays(array))
    return {**found, "memory, MiB": above()}


def files(count):
    """Batches of files."""
    from PIL import Image

    from keras_ssl import data

    rng = np.random.RandomState(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            pixels = rng.randint(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(f"{folder}/{i:07d}.jpg")
        above, start = peak_from_here(), time.perf_counter()
        found = data.from_folder(folder, 64, in_memory=False)
        opened = time.perf_counter() - start
        return {"from_folder, s": opened, **_batches(found), "memory, MiB": above()}


def cores(count):
    """Views of photos in memory on so many cores."""
    os.sched_setaffinity(0, range(count))  # Threads that begin later inherit it.
    from keras_ssl import data

    array = np.random.RandomState(0).randint(0, 256, (512, 128, 128, 3), dtype=np.uint8)
    batches = iter(data.make_views(data.from_arrays(array), data.byol(), 128).repeat())
    for _ in range(4):
        next(batches)
    start = time.perf_counter()
    for _ in range(20):
        next(batches)
    return {"views, s": (time.perf_counter() - start) / 10}


def features(count):
    """Judgments of features."""
    from keras_ssl import evaluation

    rng = np.random.RandomState(0)
    made = []
    for size in (count, 2000):
        labels = rng.randint(0, 10, size)
        values = rng.randn(size, 128) + np.eye(10, 128)[labels]
        made.append(evaluation.Features(values.astype("float32"), labels))
    judges = evaluation.knn_accuracy, evaluation.linear_accuracy
    some = [evaluation.Features(one.values[:100], one.labels[:100]) for one in made]
    for judge in judges:  # Imports.
        judge(*some)
    above, marks = peak_from_here(), [time.perf_counter()]
    for judge in judges:
        judge(*made)
        marks.append(time.perf_counter())
    knn, linear = (b - a for a, b in zip(marks, marks[1:], strict=False))
    return {"kNN, s": knn, "linear, s": linear, "memory, MiB": above()}


MEASURES = {f.__name__: f for f in (batch, projector, images, files, cores, features)}


def slope(sizes, values):
    """The slope of the upper half of a curve on log axes."""
    half = max(2, len(sizes) // 2)
    return float(np.polyfit(np.log(sizes[-half:]), np.log(np.maximum(values[-half:], 1e-9)), 1)[0])


def plot(found, path):
    """Draws the panels: seconds, and below them memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(found), 7), layout="constrained")
    axes = figure.subplots(2, len(found))
    for column, (panel, points) in zip(axes.T.reshape(len(found), 2), found.items(), strict=True):
        sizes = [int(size) for size in points]
        for name in next(iter(points.values())):
            axis = column[int(name.startswith("memory"))]
            axis.loglog(sizes, [point[name] for point in points.values()], "o-", label=name)
        for axis in column:
            if not axis.get_lines():
                axis.axis("off")
                continue
            low = min(min(line.get_ydata()) for line in axis.get_lines())
            axis.loglog(sizes, [low * size / sizes[0] for size in sizes], ":", color="gray")
            axis.set_xlabel(panel)
            axis.minorticks_off()
            axis.set_xticks(sizes[:: max(1, len(sizes) // 3)])
            for direction in (axis.xaxis, axis.yaxis):
                direction.set_major_formatter("{x:g}")
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    """Prints the figures and draws the curves, or measures one point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--panels", nargs="+", choices=PANELS, default=list(PANELS))
    parser.add_argument("--most-files", type=int, default=30_000)
    parser.add_argument("--output", type=pathlib.Path, default="runs/growth.json")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        panel, size = arguments.point
        print(json.dumps(MEASURES[panel](int(size))))
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    for panel in arguments.panels:
        sizes = PANELS[panel]
        if panel == "files" and arguments.most_files > sizes[-1]:
            sizes = [*sizes, arguments.most_files]
        found[panel] = {}
        for size in sizes:
            command = [sys.executable, __file__, "--point", panel, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            point = found[panel][size] = json.loads(done.stdout.decode().splitlines()[-1])
            figures = ", ".join(
                f"{name} {value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-6))))}f}"
                for name, value in point.items()
            )
            print(f"{panel} {size}: {figures}", flush=True)
            arguments.output.write_text(json.dumps(found, indent=1) + "\n")
        for name in next(iter(found[panel].values())):
            values = [point[name] for point in found[panel].values()]
            print(f"  slope of {name.partition(',')[0]}: {slope(sizes, values):.2f}", flush=True)
    plot(found, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
