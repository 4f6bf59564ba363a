"""A speedrun: the best linear accuracy on CIFAR-10 after 7,200 seconds of CPU, without labels.

    python benchmarks/speedrun.py --cifar cifar10.npz                  # the record: seeds 0, 1, 2
    python benchmarks/speedrun.py --cifar cifar10.npz --ideas          # what each idea gives

The clock is the CPU time of the process, all threads together, from its start to the saved encoder.
No label is read before: the encoder is judged afterwards, in another process, by logistic
regression on the frozen features of all 50,000 training images, tested on the 10,000 test images.
The record is the recipe `keras_ssl.recipes.TUNED["color-32px"]` with the encoder
"resnet8-stages", as `keras-ssl pretrain` takes them for small color images.

Ideas are chosen on the last 5,000 training images, which are held out; the rest is trained on. Each
changes one thing of the record, and gets the same seconds of CPU (`--seconds`): a few steps are
timed, and the number of epochs follows. The test images are looked at once per seed of the record.

What is done stands in `--output`, and a stopped program goes on from there. Two processes of one
thread take less CPU time than one of two threads: `--seeds 0 --threads 1 & ... --seeds 1`, each
with an `--output` of its own.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow leaves oneDNN off where a CPU has no AVX512-VNNI; there it takes 0.6 of the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np

from keras_ssl import data, encoders, evaluation, recipes

HELD_OUT = 5_000
BUDGET = 7_200
CURVE = 8  # Encoders that are kept while a run of the record trains.


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is trained: settings, and the arguments of `encoders.resnet`."""

    recipe: recipes.Recipe
    encoder: dict

    def but(self, encoder=None, **changes):
        """Returns the entry with other settings."""
        recipe = dataclasses.replace(self.recipe, **changes)
        return Entry(recipe, {**self.encoder, **(encoder or {})})


RECORD = Entry(
    recipes.TUNED["color-32px"],
    {
        "blocks": (1, 1, 1),
        "width": 64,
        "stem": "strided",
        "zero_init_residual": False,
        "stages": 3,
    },
)


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
    "half the width": RECORD.but({"width": 16}),
    "twice the width": RECORD.but({"width": 64}),
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
    shape = entry.recipe.encoder_shape(image_shape)
    return entry.recipe.build_model(encoders.resnet(shape, **entry.encoder))


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
    """Trains an encoder, saves it, and writes how long it took. No label is read."""
    recipe = entry.recipe
    views = data.make_views(images, recipe.build_policy(), recipe.batch_size, seed)
    if seconds:
        left = seconds - time.process_time()
        per_step = cpu_seconds_per_step(entry, images, seed)
        recipe = dataclasses.replace(recipe, epochs=max(round(left / (per_step * len(views))), 1))
    model = build_model(entry, images.image_shape, seed)
    model.compile(recipe.build_optimizer(len(views)))
    callbacks = [] if seconds else [Keep(folder, recipe.epochs)]
    model.fit(views, epochs=recipe.epochs, verbose=2, callbacks=callbacks)
    model.encoder.save(folder / "encoder.keras")
    took = {"cpu_seconds": time.process_time(), "epochs": recipe.epochs}
    (folder / "took.json").write_text(json.dumps(took))


def run(name, seed, options):
    """Trains an entry in a process of its own, judges its encoder, and returns the figures."""
    folder = options.folder / f"{name}, seed {seed}"
    folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    command = [sys.executable, __file__, "--cifar", options.cifar, "--train", name]
    command += ["--seeds", str(seed), "--folder", str(folder), "--threads", str(options.threads)]
    is_idea = options.ideas is not None
    if is_idea:
        command += ["--ideas", "--seconds", str(options.seconds)]
    subprocess.run(command, check=True)
    minutes = (time.time() - start) / 60
    fitted, judged = load(options.cifar, is_idea)
    count = 10_000 if is_idea else len(fitted)

    def figures(path, count):
        encoder = keras.models.load_model(path, compile=False)
        return evaluation.judge(encoder, fitted, judged, max_images=count)

    row = {"seed": seed, **json.loads((folder / "took.json").read_text()), "minutes": minutes}
    row.update(figures(folder / "encoder.keras", count))
    row["images_per_epoch"] = len(fitted)
    kept = sorted(int(path.stem) for path in folder.glob("[0-9]*.keras"))
    if kept:
        # The curve is of 10,000 training images, which is quick.
        points = [(cpu, figures(folder / f"{cpu}.keras", 10_000)) for cpu in kept]
        points.append((row["cpu_seconds"], figures(folder / "encoder.keras", 10_000)))
        row["curve"] = [{"cpu_seconds": cpu, **found} for cpu, found in points]
    row["machine"] = {"processor": processor(), "threads": options.threads or os.cpu_count()}
    row["onednn"] = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    row["precision"] = "float32"
    return row


def processor():
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(runs):
    """Returns a row per entry in Markdown, with means over the seeds."""
    rows = {}
    for name, found in runs.items():
        rows[name] = {
            column: f"{np.mean([scale * run[key] for run in found]):.{digits}f}"
            for column, key, scale, digits in (
                ("kNN, %", "knn", 100, 1),
                ("linear, %", "linear", 100, 1),
                ("RankMe", "rankme", 1, 0),
                ("epochs", "epochs", 1, 0),
                ("CPU seconds", "cpu_seconds", 1, 0),
            )
        }
        rows[name]["seeds"] = str(len(found))
    return evaluation.table(rows)


def plot(record, path):
    """Draws the accuracies of each seed of the record over the CPU time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, color in (("linear", "C0"), ("knn", "C1")):
        for i, found in enumerate(record["runs"]):
            seconds = [point["cpu_seconds"] for point in found["curve"]]
            values = [100 * point[key] for point in found["curve"]]
            label = {"linear": "logistic regression", "knn": "k nearest neighbors"}[key]
            axis.plot(seconds, values, "o-", color=color, ms=4, label=None if i else label)
    axis.set_xlabel("CPU seconds")
    axis.set_ylabel("accuracy, % (10,000 labels)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    """Runs what is not in the output yet, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--output", type=pathlib.Path, default="benchmarks/speedrun.json")
    parser.add_argument("--folder", type=pathlib.Path, default="runs/speedrun", help="encoders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")
    parser.add_argument("--ideas", nargs="*", choices=IDEAS, help="default: all of them")
    parser.add_argument("--seconds", type=float, default=600, help="CPU time of an idea")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.train:
        if keras.backend.backend() == "tensorflow" and options.threads:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        images, _ = load(options.cifar, options.ideas is not None)
        seconds = options.seconds if options.ideas is not None else None
        train(IDEAS[options.train], images, options.seeds[0], seconds, options.folder)
        return

    record = {"linear": [], "runs": [], "ideas": {}}
    if options.output.is_file():
        record = json.loads(options.output.read_text())

    def save():
        record["linear"] = [found["linear"] for found in record["runs"]]
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
