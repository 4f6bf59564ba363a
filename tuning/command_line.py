"""The code that the scripts of this folder share: their options, their images, and how they run.

A script states its question and calls `main`; see README.md.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from keras_ssl import (
    data,
    distribution,
    evaluation,
    hypermodels,
    recipes,
    registry,
    spaces,
    studies,
)
from keras_ssl.studies.setup import baselines

SMOKE = {"images": 200, "epochs": 1, "budget": 2, "seeds": 1, "batch_size": 32}


@dataclasses.dataclass(frozen=True)
class Question:
    """The question of a script.

    Attributes:
        name: Name of the study's folder.
        title: First line of the report.
        question: The question, in a sentence or two.
        arms: Function of (options, images) that returns hypermodels by name.
        answer: Function of the results that returns the answer, with figures.
        sections: Function of (results, folder) that returns more sections of the report; it may
            write pictures.
        budget: Number of draws per arm.
        seeds: Number of final runs of the defaults, and of the tuned settings.
        finalists: Number of best draws that run with more seeds before one is chosen.
        epochs: Epochs of every trial.
        images: Largest number of images to train on and to choose by.
    """

    name: str
    title: str
    question: str
    arms: Callable[[argparse.Namespace, data.HeldOut], Mapping]
    answer: Callable[[studies.Results], str]
    sections: Callable[[studies.Results, pathlib.Path], Mapping[str, str]] = lambda *_: {}
    budget: int = 5
    seeds: int = 3
    finalists: int = 1
    epochs: int = 16
    images: int = 6400


def parse(text: str, ask: Question, arguments: list[str] | None) -> argparse.Namespace:
    """Reads the options of a script from the command line."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    registry.import_named(arguments)
    registry.add_import_option(parser, default=[])
    add = parser.add_argument
    add(
        "--dataset",
        default="digits",
        help='"digits", a folder of images, an .npz file, a folder with the .gz files of '
        "Fashion-MNIST, or a tensorflow-datasets name (default: digits)",
    )
    add("--data-dir", help="folder of the data sets: folders, files, or tensorflow-datasets' own")
    add("--download", action="store_true", help="let tensorflow-datasets download")
    add("--image-size", type=int, help="height and width of a folder's images, in pixels")
    add(
        "--images",
        type=int,
        default=ask.images,
        help=f"largest number of images to train on and to choose by (default: {ask.images})",
    )
    add(
        "--validation",
        type=float,
        default=0.5,
        help="share of the images to choose settings by; the rest is trained on (default: 0.5)",
    )
    add(
        "--methods",
        nargs="*",
        help="only these of the script's methods; some scripts take any method: "
        f"{', '.join(recipes.methods())}",
    )
    add(
        "--budget",
        type=int,
        default=ask.budget,
        help=f"trials of each arm's search, the defaults included (default: {ask.budget})",
    )
    add(
        "--seeds",
        type=int,
        default=ask.seeds,
        help=f"number of seeds of the final runs (default: {ask.seeds})",
    )
    add(
        "--finalists",
        type=int,
        default=ask.finalists,
        help="number of best draws of each arm that run with as many more seeds before one is "
        f"chosen (default: {ask.finalists})",
    )
    add(
        "--epochs",
        type=int,
        default=ask.epochs,
        help=f"epochs of each trial (default: {ask.epochs})",
    )
    add("--batch-size", type=int, default=64, help="images per step (default: 64)")
    add("--view-size", type=int, help="height and width of the views (default: the images')")
    add("--encoder", help="name of an encoder; default: one that fits the size of the images")
    add(
        "--score",
        default="knn",
        choices=hypermodels.OBJECTIVES,
        help="figure that trials are compared by; rankme and lidar need no labels (default: knn)",
    )
    add(
        "--label-free",
        action="store_true",
        help="record RankMe, LiDAR and the like of each trial, too",
    )
    add(
        "--transfer",
        help="folder of other labeled images; the kNN of each trial on them is recorded, too",
    )
    add(
        "--folder",
        help="folder of the results; if it holds this study, the study goes on "
        "(default: runs/STUDY-DATASET)",
    )
    add("--workers", type=int, default=1, help="processes that share the trials (default: 1)")
    add(
        "--strategy",
        default="auto",
        choices=[name for name in distribution.STRATEGIES if name != "multiworker"],
        help="devices of each trial (default: auto)",
    )
    add("--retry-failed", action="store_true", help="run trials that failed before again")
    add("--smoke", action="store_true", help="shrink everything to seconds")
    if parser.parse_known_args(arguments)[0].smoke:
        parser.set_defaults(**SMOKE)
    options = parser.parse_args(arguments)
    if options.folder is None:
        source = pathlib.Path(options.dataset.replace(":", "-")).stem
        options.folder = f"runs/{ask.name}-{source}{'-smoke' if options.smoke else ''}"
    return options


def load_images(options: argparse.Namespace) -> data.HeldOut:
    """Loads the images, in three parts."""
    source = options.dataset
    beside = pathlib.Path(options.data_dir or "") / source
    # A data set that tensorflow-datasets has prepared is loaded by its name.
    if options.data_dir and beside.exists() and not any(beside.rglob("dataset_info.json")):
        source = str(beside)
    splits = data.load(
        source,
        image_size=options.image_size,
        data_dir=options.data_dir,
        download=options.download,
    )
    train = splits.train.spread(options.images)
    test = splits.test and splits.test.spread(200 if options.smoke else 10_000)
    return data.hold_out(data.Splits(train, test), options.validation)


def fit_recipe(
    name: str, options: argparse.Namespace, images: data.HeldOut, **changes: object
) -> recipes.Recipe:
    """Returns a small recipe, changed by the options and by `changes`."""
    changes |= {"epochs": options.epochs, "batch_size": options.batch_size}
    if options.view_size is not None:
        changes["view_size"] = options.view_size
    return recipes.methods()[name].for_images(images.train.image_shape, **changes)


@functools.cache
def load_others(folder: str, image_shape: tuple[int, ...]) -> data.Splits:
    """Loads the images of `--transfer`, brought to the size of the study's.

    Raises:
        ValueError: if they have no labels, or the study's images are not square.
    """
    height, width, channels = image_shape
    if height != width:
        raise ValueError(f"--transfer must go with square images. Received: {height} x {width}")
    others = data.load(folder, image_size=height, channels=channels)
    if others.test is None:
        raise ValueError(f"--transfer must name labeled images. Received: {folder}")
    return others


class Transfer:
    """Measures kNN on other images, beside what else is measured.

    A study knows a measure by its name, which tells the images and not the folder: it may move.
    """

    def __init__(self, images: data.Splits, measure: Callable | None) -> None:
        self.images, self.measure = images, measure
        train, test = images
        own = "" if measure is None else f" and {measure.__qualname__}"
        self.__qualname__ = f"kNN on {len(train)} + {len(test)} of {train.class_names}{own}"

    def __call__(self, model: keras.Model, images: data.HeldOut) -> dict[str, float]:
        """Returns the figures; kNN is that of the other images' own split."""
        figures = {} if self.measure is None else dict(self.measure(model, images))
        train, test = (evaluation.extract(model.encoder, part) for part in self.images)
        return {**figures, "transfer_knn": evaluation.knn_accuracy(train, test)}


def hypermodel(
    recipe: recipes.Recipe,
    options: argparse.Namespace,
    images: data.HeldOut,
    space: spaces.Space,
    measure: Callable | None = None,
) -> hypermodels.PretrainingHyperModel:
    """Returns an arm of a study."""
    size = images.train.image_shape[0]
    fitting = "resnet8" if size <= 16 else "resnet8-strided" if size <= 32 else "resnet18"
    if options.transfer is not None:
        others = load_others(options.transfer, images.train.image_shape)
        measure = Transfer(others, measure)
    return hypermodels.PretrainingHyperModel(
        recipe,
        images,
        space,
        options.encoder or fitting,
        options.score,
        options.label_free,
        measure,
    )


def criterion_arm(
    name: str, options: argparse.Namespace, images: data.HeldOut, **kwargs: object
) -> hypermodels.PretrainingHyperModel:
    """Returns an arm that tunes the settings of a criterion and the base learning rate."""
    recipe = fit_recipe(name, options, images)
    space = spaces.combine(spaces.criterion_settings, spaces.learning_rate)
    return hypermodel(recipe, options, images, space, **kwargs)


def chosen(
    own: Iterable[str], options: argparse.Namespace, others: Iterable[str] = ()
) -> list[str]:
    """Returns the methods that the command line names, or all of the script's own.

    Args:
        own: The script's methods.
        options: The command line.
        others: More methods that the command line may name: `recipes.methods()` if the script takes
            any method.

    Raises:
        ValueError: if the command line names a method that is not known.
    """
    known = list(dict.fromkeys([*own, *others]))
    if strange := sorted(set(options.methods or ()) - set(known)):
        raise ValueError(
            f"--methods must be some of {known}, or methods of your own, whose module --import "
            f"names. Received: {strange}"
        )
    return [name for name in known if name in (options.methods or own)]


def main(text: str, ask: Question, arguments: list[str] | None = None) -> None:
    """Runs a script: runs its study and writes its report."""
    try:
        options = parse(text, ask, arguments)
        images = load_images(options)
        study = studies.Study(
            options.folder,
            ask.arms(options, images),
            options.budget,
            options.seeds,
            options.finalists,
        )
        if options.workers != 1 and "KERASTUNER_TUNER_ID" not in os.environ:
            command = [sys.executable, *sys.argv]
            sys.exit(studies.run_with_workers(command, options.workers, options.folder))
        results = study.run(distribution.strategy(options.strategy), options.retry_failed)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if results is None:
        return  # This is a worker; its chief writes the report.
    setup = studies.setup_of(study, results, options.dataset)
    if options.transfer is not None:
        others = load_others(options.transfer, images.train.image_shape)
        found = baselines(next(iter(study.arms.values())), *others)
        setup["for comparison, kNN on --transfer"] = ", ".join(
            f"{name} {100 * figures['knn']:.1f}" for name, figures in found.items()
        )
    report = studies.write_report(
        results,
        study.folder,
        ask.title,
        ask.question,
        setup,
        ask.answer(results),
        ask.sections(results, study.folder),
    )
    print(f"\n{studies.arms_table(results)}\n\nWritten to {report}")
