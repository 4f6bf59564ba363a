"""Trains every method with the same small budget on Fashion-MNIST: does every method learn?

    python benchmarks/methods.py --data-dir ../shared/data --output runs/methods.json
    python benchmarks/methods.py --cifar cifar10.npz --output runs/cifar.json    # on CIFAR-10

Every method has the same encoder (ResNet-8, width 16, strided stem: 78 thousand parameters), images
(the first 10,000 of Fashion-MNIST, without their labels), augmentation, projector, optimizer and
number of epochs. Only the criterion differs, with the constants of `keras_ssl.recipes.SMALL`. (Some
relatives of the paper's methods have a predictor, a teacher or another projector: see there.)
Weighted kNN (k = 20, temperature 0.07) and logistic regression judge the frozen features. They are
fitted on the same 10,000 images and tested on the 10,000 of the test split, and raw pixels and the
untrained encoder are judged in the same way. Prints a Markdown table. Takes about three minutes per
run on two CPU cores.

A stopped run goes on from what `--output` holds. `--encoders FOLDER` keeps the encoders, for
benchmarks/similarity.py, and trains those again that are not there.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_ssl import data, encoders, evaluation, recipes, registry


def fashion_mnist(data_dir: str, count: int) -> data.Splits:
    """Loads the first `count` training images and all test images of the four official files."""
    folder = pathlib.Path(data_dir) / "fashion-mnist"
    if not folder.is_dir():
        raise SystemExit(
            "error: --data-dir must hold fashion-mnist/ with the official files. "
            f"Received: {folder}"
        )
    return first_images(folder, count)


def first_images(source: str | pathlib.Path, count: int) -> data.Splits:
    """Loads the first `count` training images and all test images of what `data.load` takes."""
    train, test = data.load(source)
    return data.Splits(train.subset(range(min(count, len(train)))), test)


def build_encoder(image_shape: tuple[int, int, int], seed: int) -> keras.Model:
    """Builds the encoder of all runs from its seed."""
    keras.utils.set_random_seed(seed)
    return encoders.resnet8(image_shape, stem="strided")


def pretrain(
    recipe: recipes.Recipe, images: data.ImageSet, seed: int, callbacks: Sequence = ()
) -> tuple[keras.Model, dict]:
    """Trains an encoder by the recipe, and returns it with the last epoch's figures."""
    encoder = build_encoder(images.image_shape, seed)
    model = recipe.build_model(encoder)
    views = data.make_views(images, recipe.build_policy(), recipe.batch_size, seed)
    model.compile(recipe.build_optimizer(len(views)))
    history = model.fit(views, epochs=recipe.epochs, verbose=0, callbacks=list(callbacks)).history
    return encoder, {name: values[-1] for name, values in history.items()}


def summary(figures: dict[str, dict]) -> str:
    """Returns one row per method: means, and standard deviations if there are several seeds."""
    rows: dict[str, dict[str, str]] = {}
    for method in dict.fromkeys(figure["method"] for figure in figures.values()):
        runs = [figure for figure in figures.values() if figure["method"] == method]

        def cell(column: str, scale: float = 1.0, runs: list[dict] = runs) -> str:
            values = [scale * run[column] for run in runs]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            return f"{np.mean(values):.1f}{spread}"

        rows[method] = {
            "kNN, %": cell("knn", 100),
            "linear, %": cell("linear", 100),
            "RankMe": cell("rankme"),
            "minutes": cell("minutes"),
            "seeds": str(len(runs)),
        }
    return evaluation.table(rows)


def plot(figures: dict[str, dict], path: str | pathlib.Path) -> None:
    """Draws the accuracies of every method, a point per seed, in order of their kNN accuracy."""
    from matplotlib.figure import Figure

    runs: dict[str, list[dict]] = {}
    for figure in figures.values():
        runs.setdefault(figure["method"], []).append(figure)
    order = sorted(runs, key=lambda method: np.mean([run["knn"] for run in runs[method]]))
    figure = Figure(figsize=(7, 0.28 * len(order) + 1), layout="constrained")
    axis = figure.subplots()
    for key, color, label in (("knn", "C1", "kNN"), ("linear", "C0", "linear probe")):
        points = [(100 * run[key], y) for y, name in enumerate(order) for run in runs[name]]
        axis.plot(*zip(*points, strict=True), "o", color=color, alpha=0.7, label=label)
    axis.set_yticks(range(len(order)), order)
    axis.set_xlabel("accuracy on test images, %")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the methods that are not in the output yet, and prints the table."""
    registry.import_named()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", help="folder that holds fashion-mnist/")
    source.add_argument("--cifar", help="CIFAR-10 as an .npz file, in the place of Fashion-MNIST")
    parser.add_argument("--output", default="runs/methods.json", help="figures, as JSON")
    parser.add_argument("--encoders", type=pathlib.Path, help="folder to keep the encoders in")
    parser.add_argument("--images", type=int, default=10_000, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    registry.add_import_option(parser, default=[])
    known = recipes.methods()
    parser.add_argument("--methods", nargs="*", default=list(known), choices=known)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    options = parser.parse_args()

    output = pathlib.Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(output.read_text()) if output.is_file() else {}
    load, source = (
        (first_images, options.cifar) if options.cifar else (fashion_mnist, options.data_dir)
    )
    train, test = load(source, options.images)
    policy, fingerprint = data.policy_for(train.image_shape), data.fingerprint(train)

    def record(name: str, seed: int, compute: object) -> None:
        key = f"{name}, seed {seed}"
        encoder_file = options.encoders and options.encoders / f"{key}.keras"
        settings = {"epochs": options.epochs, "images": options.images, "data": fingerprint}
        if key in figures:
            # Earlier rows do not say which images they are of.
            found = {setting: figures[key].get(setting, fingerprint) for setting in settings}
            if found != settings:
                raise SystemExit(f"error: {output} holds {key} with {found}, not {settings}")
            if encoder_file is None or encoder_file.exists():
                return
        start = time.time()
        encoder, logs = compute()
        minutes = (time.time() - start) / 60
        if encoder_file is not None:
            options.encoders.mkdir(parents=True, exist_ok=True)
            encoder.save(encoder_file)
        row = {**evaluation.judge(encoder, train, test), "minutes": minutes}
        figures[key] = {**row, "method": name, "seed": seed, **settings, "logs": logs}
        output.write_text(json.dumps(figures, indent=2) + "\n")
        print(key, {k: round(v, 3) for k, v in row.items()}, flush=True)

    record("raw pixels", 0, lambda: (evaluation.raw_pixels(train.image_shape), {}))
    for seed in options.seeds:
        record("untrained", seed, lambda s=seed: (build_encoder(train.image_shape, s), {}))
        for name in options.methods:
            recipe = recipes.methods()[name]
            recipe = dataclasses.replace(recipe, epochs=options.epochs, policy=policy)
            record(name, seed, lambda r=recipe, s=seed: pretrain(r, train, s))

    print("\n" + summary(figures))
    plot(figures, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
