"""`keras-ssl study`."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_ssl import _log, data, distribution, encoders, recipes, runs, spaces
from keras_ssl._validation import check_count, check_fraction, check_optional_count
from keras_ssl.data.sources.folder import check_outside
from keras_ssl.pretraining import defaults


def study(
    source: str | os.PathLike[str] = "digits",
    *,
    methods: Sequence[str] = ("vicreg", "simclr"),
    trials: int = 5,
    seeds: int = 3,
    finalists: int = 1,
    epochs: int = 16,
    batch_size: int = 64,
    max_images: int = 6400,
    validation: float = 0.5,
    score: str = "knn",
    encoder: str | None = None,
    image_size: int | None = None,
    data_dir: str | None = None,
    download: bool = False,
    strategy: str = "auto",
    retry_failed: bool = False,
    out: str | os.PathLike[str] | None = None,
    smoke: bool = False,
    quiet: bool = False,
) -> pathlib.Path:
    """Tunes methods on your images with equal budgets, and compares them tuned and untuned.

    Settings are chosen by validation images; the answer is from test images, with several seeds.
    The same command goes on with a study that was stopped. The paper's own questions are the
    scripts under tuning/ in the source.

    Examples:
        keras-ssl study photos/ --methods vicreg --methods barlow-twins --trials 9
        keras-ssl study photos/ --import my_module --methods "my_package>MyMethod"

    Args:
        source: Labeled images: "digits", a folder, an .npz file or a tensorflow-datasets name; with
            the score rankme or lidar, they need no labels.
        methods: Methods to compare, each with its own search space.
        trials: Draws of each method's search, at least 1; the first is the defaults.
        seeds: Seeds of the final runs of the defaults and of the best draw.
        finalists: Number of best draws that run with more seeds before one is chosen.
        epochs: Epochs of each trial.
        batch_size: Images per step.
        max_images: Largest number of images to train on and to choose by.
        validation: Share of these images to choose by, above 0 and below 1.
        score: What trials are compared by: knn, linear, probe, rankme or lidar.
        encoder: A name of `keras_ssl.encoders.ENCODERS` or of keras.applications.
        image_size: Height and width of the images, in pixels. Default: as for `pretrain`.
        data_dir: Folder where tensorflow-datasets keeps its data.
        download: Let tensorflow-datasets download.
        strategy: Devices of each trial; see docs/devices.md.
        retry_failed: Run trials again that failed before.
        out: Folder of the study. Default: runs/study-SOURCE, with "-smoke" behind it for `smoke`.
        smoke: Shrink everything to seconds.
        quiet: Say nothing but warnings.

    Returns:
        The path of the report, report.md.

    Raises:
        ValueError: for an option that is wrong.
    """
    # These need keras-tuner.
    from keras_ssl import hypermodels, studies

    counts = {"trials": trials, "seeds": seeds, "finalists": finalists, "epochs": epochs}
    counts |= {"batch_size": batch_size, "max_images": max_images}
    for name, value in counts.items():
        check_count(name, value)
    check_optional_count("image_size", image_size)
    check_fraction("validation", validation)
    known = recipes.methods()
    strange = [name for name in methods if name not in known]
    if strange or not methods:
        raise ValueError(f"`methods` must be some of {list(known)}. Received: {strange}")
    if image_size is None and (choice := defaults.image_size(source)) is not None:
        image_size = choice.value
    if smoke:
        trials, seeds, epochs, batch_size, max_images = 2, 1, 1, 32, 200
    own = f"study-{pathlib.Path(str(source)).resolve().stem}{'-smoke' if smoke else ''}"
    folder = pathlib.Path(out or pathlib.Path("runs") / own)
    if not folder.exists():  # A study that was begun there goes on.
        check_outside("out", folder, source)
    with _log.shown(quiet):
        with runs.stage(f"loading {source}"):
            splits = data.load(source, image_size, data_dir=data_dir, download=download)
            splits = data.Splits(
                splits.train.spread(max_images), splits.test and splits.test.spread(max_images)
            )
            images = data.hold_out(splits, validation)
        name = encoder or defaults.encoder(images.train.image_shape).value
        encoders.check_encoder(name)
        arms = {
            method: hypermodels.PretrainingHyperModel(
                known[method].for_images(
                    images.train.image_shape, epochs=epochs, batch_size=batch_size
                ),
                images,
                spaces.combine(spaces.criterion_settings, spaces.learning_rate),
                encoder=name,
                score=score,
            )
            for method in dict.fromkeys(methods)
        }
        run = studies.Study(folder, arms, trials, seeds, finalists)
        results = run.run(distribution.strategy(strategy), retry_failed)
        if results is None:  # This process is a worker of another, which writes the report.
            return pathlib.Path(run.folder)
        question = "Which of the methods suits these images, as it is and tuned?"
        setup, said = studies.setup_of(run, results, source), _answer(results)
        path = studies.write_report(
            results, run.folder, f"Methods on {source}", question, setup, said
        )
        _log.say(f"{studies.arms_table(results)}\n\n{said}\n\nWritten to {path}")
        return pathlib.Path(path)


def _answer(results: Any) -> str:
    """Says which method has the highest mean, tuned, and by how much; `results` are a study's."""
    from keras_ssl import studies

    arms = sorted(
        (arm for arm in results.arms.values() if len(arm.tuned)), key=lambda arm: -arm.tuned.mean()
    )
    if not arms:
        return "No method has a figure."
    first, *others = arms
    best = f"Tuned, {first.name} has the highest mean, {results.scale * first.tuned.mean():.1f}"
    ahead = "; ".join(
        f"{studies.difference(first.final['tuned'], other.final['tuned'], results.scale)} above "
        f"{other.name}"
        for other in others
    )
    seeds = min(
        (len(first.final["tuned"].keys() & other.final["tuned"].keys()) for other in others),
        default=0,
    )
    if seeds < 2:
        errors = "One seed does not tell whether a difference is chance."
    else:
        errors = (
            f"With {seeds} seeds, a difference of less than {studies.chance_limit(seeds):.1f} of "
            "its standard errors (±) may be chance."
        )
    return f"{best}: {ahead}. {errors}" if others else f"{best}."
