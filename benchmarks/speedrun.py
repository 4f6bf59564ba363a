"""A speedrun: the best linear accuracy on CIFAR-10 after 7,200 seconds of CPU, without labels.

    python benchmarks/speedrun.py --cifar cifar10.npz                  # the record: seeds 0, 1, 2
    python benchmarks/speedrun.py --cifar cifar10.npz --ideas          # what each idea gives

The clock is the CPU time of the process, all threads together, from its start to the saved encoder.
Labels are left out before it trains. The encoder is judged afterwards, in another process, by
logistic regression on the frozen features of all 50,000 training images, tested on the 10,000 test
images. The record is the recipe `keras_ssl.recipes.TUNED["color-32px"]` with "resnet8-wide", for
its 19 epochs, or as many whole ones as fit into the budget. `keras-ssl pretrain` takes both for
small color images, and chooses the epochs.

Ideas are judged on the last 5,000 training images, which are held out; the rest is trained on. Each
changes one thing of the record, and gets the same seconds of CPU (`--seconds`): a few steps are
timed, and the number of steps follows. The test images are looked at once per seed of the record.
(The curve is of 5,000 training images, judged by 5,000 others.)

What is done stands in `--output`, and a stopped program goes on from there; a training that was
stopped begins again. The record of the docs is benchmarks/speedrun.json.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow itself does so only where a CPU has AVX512-VNNI: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np

from keras_ssl import data, encoders, evaluation, recipes, runs

HELD_OUT = 5_000
BUDGET = 7_200
SPARE = 0.95  # Of the budget is planned: a machine becomes slower when it has other work.
CURVE = 8  # Encoders that are kept while a run of the record trains.
CURVE_IMAGES = 5_000


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is trained: settings, and the arguments of `encoders.resnet8`."""

    recipe: recipes.Recipe
    encoder: dict

    def but(self, encoder=None, **changes):
        """Returns the entry with other settings."""
        recipe = dataclasses.replace(self.recipe, **changes)
        return Entry(recipe, {**self.encoder, **(encoder or {})})


RECORD = Entry(recipes.TUNED["color-32px"], encoders.ENCODERS["resnet8-wide"].keywords)


def small(name, **changes):
    """Makes another method with its small recipe, and the rest as in the record."""
    recipe = recipes.SMALL[name]
    changes = {"criterion": recipe.criterion, "criterion_class": None, **changes}
    return RECORD.but(model=recipe.model, **changes)


IDEAS = {
    "the record": RECORD,
    "views of 32 px": RECORD.but(view_size=None),
    "views of 20 px": RECORD.but(view_size=20),
    "the last stage alone": RECORD.but({"stages": 1}),
    "half the width": RECORD.but({"width": 32}),
    "twice the width": RECORD.but({"width": 128}),
    "a third of the learning rate": RECORD.but(
        base_learning_rate=RECORD.recipe.base_learning_rate / 3
    ),
    "I-VNE+": small("i-vne"),
    "VICReg": small("vicreg"),
}


def load(cifar, holds_out):
    """Loads the images to train on, and those to judge by."""
    train, test = data.load(cifar)
    if not holds_out:
        return train, test
    first = len(train) - HELD_OUT
    return train.subset(range(first)), train.subset(range(first, len(train)))


def build_model(entry, image_shape, seed):
    """Builds the model around a new encoder."""
    keras.utils.set_random_seed(seed)
    entry.recipe.build_policy()  # Keras draws the seeds of its layers: part of the record.
    encoder = encoders.resnet8((None, None, image_shape[-1]), **entry.encoder)
    return entry.recipe.build_model(encoder)


class Keep(keras.callbacks.Callback):
    """Keeps the encoder several times, with the CPU time so far."""

    def __init__(self, folder, epochs):
        super().__init__()
        self.folder = folder
        self.epochs = {round(epochs * i / CURVE) for i in range(1, CURVE)} - {0, epochs}

    def on_epoch_end(self, epoch, logs=None):
        """Saves it after some of the epochs."""
        if epoch + 1 in self.epochs:
            self.model.encoder.save(self.folder / f"{time.process_time():.0f}.keras")


def cpu_seconds_per_step(entry, images, seed, steps=15, first=5):
    """Times the steps of a model that is thrown away."""
    times = []

    class Stopwatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            """Notes the time."""
            times.append(time.process_time())

    model = build_model(entry, images.image_shape, seed)
    model.compile(entry.recipe.build_optimizer(steps))
    views = data.make_views(images, entry.recipe.build_policy(), entry.recipe.batch_size, seed)
    model.fit(views, steps_per_epoch=steps, verbose=0, callbacks=[Stopwatch()])
    return (times[-1] - times[first - 1]) / (steps - first)


def train(entry, images, seed, seconds, folder):
    """Trains an encoder, saves it, and writes how long it took."""
    recipe, images = entry.recipe, images.without_labels()
    views = data.make_views(images, recipe.build_policy(), recipe.batch_size, seed)
    per_step = cpu_seconds_per_step(entry, images, seed)
    if seconds:
        number = (seconds - time.process_time()) / per_step
        epochs = max(math.ceil(number / len(views)), 1)
        steps = max(int(number / epochs), 1)
    else:
        # Whole epochs, and fewer than the recipe's on a machine that is slower today.
        number = (SPARE * BUDGET - time.process_time()) / per_step
        epochs = min(recipe.epochs, max(int(number / len(views)), 1))
        steps = len(views)
    recipe = dataclasses.replace(recipe, epochs=epochs)
    model = build_model(entry, images.image_shape, seed)
    model.compile(recipe.build_optimizer(steps))
    callbacks = [] if seconds else [Keep(folder, epochs)]
    model.fit(views, epochs=epochs, steps_per_epoch=steps, verbose=2, callbacks=callbacks)
    model.encoder.save(folder / "encoder.keras")
    took = {"cpu_seconds": time.process_time(), "images_seen": epochs * steps * recipe.batch_size}
    (folder / "took.json").write_text(json.dumps(took))


def run(name, seed, options):
    """Trains an entry in a process of its own, judges its encoder, and returns the figures."""
    is_idea = options.ideas is not None
    kind = f"ideas of {options.seconds:g} s" if is_idea else "record"
    folder = options.folder / kind / f"{name}, seed {seed}"
    took = folder / "took.json"
    if not took.exists():
        shutil.rmtree(folder, ignore_errors=True)  # What a stopped training has left.
        folder.mkdir(parents=True)
        command = [sys.executable, __file__, "--cifar", options.cifar, "--train", name]
        command += ["--seeds", str(seed), "--folder", str(folder)]
        command += ["--threads", str(options.threads)]
        if is_idea:
            command += ["--ideas", "--seconds", str(options.seconds)]
        subprocess.run(command, check=True)
    fitted, judged = load(options.cifar, is_idea)
    encoder = keras.models.load_model(folder / "encoder.keras", compile=False)
    count = 10_000 if is_idea else len(fitted)
    row = {"seed": seed, **json.loads(took.read_text())}
    row.update(evaluation.judge(encoder, fitted, judged, max_images=count))
    kept = sorted(int(path.stem) for path in folder.glob("[0-9]*.keras"))
    if kept:
        row["curve"] = [point(folder / f"{cpu}.keras", cpu, fitted) for cpu in kept]
        row["curve"].append(point(folder / "encoder.keras", row["cpu_seconds"], fitted))
    return row | {
        "budget": options.seconds if is_idea else BUDGET,
        "processor": processor(),
        "threads": options.threads or os.cpu_count(),
        "precision": "float32",
        **runs.versions(),
    }


def point(path, cpu_seconds, images):
    """Judges an encoder on training images."""
    count = len(images)
    halves = (
        images.subset(range(CURVE_IMAGES)),
        images.subset(range(count - CURVE_IMAGES, count)),
    )
    encoder = keras.models.load_model(path, compile=False)
    figures = evaluation.judge(encoder, *halves, label_free=False)
    return {"cpu_seconds": cpu_seconds, **figures}


def processor():
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(entries):
    """Returns a row per entry in Markdown, with means over the seeds."""
    rows = {}
    for name, found in entries.items():
        rows[name] = {
            column: f"{np.mean([scale * run[key] for run in found]):.{digits}f}"
            for column, key, scale, digits in (
                ("kNN, %", "knn", 100, 1),
                ("linear, %", "linear", 100, 1),
                ("RankMe", "rankme", 1, 0),
                ("images seen, millions", "images_seen", 1e-6, 2),
                ("CPU seconds", "cpu_seconds", 1, 0),
            )
        }
        rows[name]["seeds"] = str(len(found))
    return evaluation.table(rows)


def plot(record, path):
    """Draws the accuracies of each seed of the record over the CPU time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for key, color in (("linear", "C0"), ("knn", "C1")):
        for i, found in enumerate(record["runs"]):
            seconds = [point["cpu_seconds"] for point in found["curve"]]
            values = [100 * point[key] for point in found["curve"]]
            label = {"linear": "logistic regression", "knn": "k nearest neighbors"}[key]
            axis.plot(seconds, values, "o-", color=color, ms=4, label=None if i else label)
    axis.set_xlabel("CPU seconds")
    axis.set_ylabel(f"accuracy, % ({CURVE_IMAGES:,} labels)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)


def main():
    """Runs what is not in the output yet, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--output", type=pathlib.Path, default="runs/speedrun.json")
    parser.add_argument("--folder", type=pathlib.Path, default="runs/speedrun", help="encoders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")
    parser.add_argument("--ideas", nargs="*", choices=IDEAS, help="default: all of them")
    parser.add_argument("--seconds", type=float, default=1200, help="CPU time of an idea")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.train:
        if keras.backend.backend() == "tensorflow" and options.threads:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        images, _ = load(options.cifar, options.ideas is not None)
        seconds = None if options.ideas is None else options.seconds
        train(IDEAS[options.train], images, options.seeds[0], seconds, options.folder)
        return

    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"linear": [], "runs": [], "ideas": {}}
    if options.output.is_file():
        record = json.loads(options.output.read_text())

    def save():
        # A run that took longer than the budget does not count.
        within = [found for found in record["runs"] if found["cpu_seconds"] <= BUDGET]
        record["linear"] = [found["linear"] for found in within]
        options.output.write_text(json.dumps(record, indent=1) + "\n")

    if options.ideas is None:
        for seed in options.seeds:
            if seed not in [found["seed"] for found in record["runs"]]:
                record["runs"].append(run("the record", seed, options))
                save()
        print(table({"the record": record["runs"]}))
        plot(record, options.output.with_suffix(".png"))
        return
    for name in options.ideas or IDEAS:
        found = record["ideas"].setdefault(name, [])
        for seed in options.seeds:
            if seed not in [row["seed"] for row in found]:
                found.append(run(name, seed, options))
                save()
    print(table(record["ideas"]))


if __name__ == "__main__":
    main()
