"""`keras-ssl finetune`: a classifier from an encoder and labeled images."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from keras_ssl import _log, data, encoders, finetuning
from keras_ssl._validation import check_choice, check_count, check_optional_count
from keras_ssl.data.image_set import check_test_fraction
from keras_ssl.finetuning.training import default_augmentation
from keras_ssl.runs.images import load_for

# What `smoke` shrinks to: a few images of each class, and seconds.
_SMOKE_IMAGES, _SMOKE_STEPS = 200, 4


def finetune(
    encoder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    labels: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: int = 5,
    train: Literal["head", "last", "all"] = "all",
    baselines: bool = True,
    steps: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    scratch_learning_rate: float = 1e-2,
    flip: bool | None = None,
    image_size: int | None = None,
    test_fraction: float = 0.2,
    smoke: bool = False,
    quiet: bool = False,
) -> finetuning.Comparison:
    """Trains a classifier from an encoder and labeled images, beside training from scratch.

    The table has a row for each fraction of the labels: accuracies on the test images, their means
    and standard errors over the subsets, of a frozen encoder (kNN and linear), of training from new
    weights, and of fine-tuning, and the paired difference of the last two. A stopped command goes
    on when it is given again.

    The classifier is a plain Keras model:

        classifier = keras.models.load_model("RUN/finetuned/classifier.keras")
        names = json.load(open("RUN/finetuned/classifier.json"))["class_names"]
        probabilities = classifier.predict(photos / 255)  # (N, height, width, channels)
        print([names[i] for i in probabilities.argmax(axis=1)])

    Examples:
        keras-ssl finetune runs/RUN labeled/photos/ --labels 0.1
        keras-ssl finetune runs/RUN labeled/photos/ --labels 0.01 0.1 1.0 --seeds 5

    Args:
        encoder: Folder of a run, or a .keras file; in Python also a Keras model.
        images: Folder of class folders, or another source of labeled images, see
            `keras_ssl.data.load`; in Python also `keras_ssl.data.Splits`. The accuracies are of its
            own test split, or of images that are held out.
        out: Folder for classifier.keras, classifier.json, few_labels.json and few_labels.md.
            Default: "finetuned" in the encoder's folder, or "finetuned-smoke" with `smoke`.
        labels: Fractions of the labels, each above 0 and at most 1, stratified by class.
        seeds: Number of subsets of the labels, each with a training of its own. All labels are one
            subset, and the seeds are trainings on it.
        train: What is trained: the linear head alone, also the last third of the encoder's layers,
            or all of them.
        baselines: Whether training from new weights and a frozen encoder stand beside it.
        steps: Steps of a training. Default: 30 passes over the labeled images, but at least 600.
        batch_size: Images per step.
        learning_rate: Highest learning rate of fine-tuning. Large encoders want less, such as 1e-4.
        scratch_learning_rate: Highest learning rate of training from new weights.
        flip: Whether half of the images are mirrored. Default: unless they are small and gray, as
            pictures of characters are.
        image_size: Height and width of the images in pixels. Default: the encoder's.
        test_fraction: Fraction of the images that is held out if the source has no test split.
        smoke: Whether to try everything in seconds, with few images and steps.
        quiet: Whether to show only warnings.

    Returns:
        The `keras_ssl.finetuning.Comparison`, with rows, table and the classifier's file.

    Raises:
        TypeError: for an argument of another type.
        ValueError: for images without labels, or that do not fit the encoder; for a value out of
            its range; for a folder with rows of other settings.
    """
    check_choice("train", train, finetuning.PARTS)
    seeds = check_count("seeds", seeds)
    image_size = check_optional_count("image_size", image_size)
    test_fraction = check_test_fraction(test_fraction)
    for name, value in {"baselines": baselines, "smoke": smoke, "quiet": quiet}.items():
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}")
    if not isinstance(flip, (bool, type(None))):
        raise TypeError(f"`flip` must be True, False or None. Received: flip={flip!r}")
    folder = _folder(encoder, out, "finetuned-smoke" if smoke else "finetuned")
    with _log.shown(quiet):
        model = encoders.load_encoder(encoder)
        splits: Any = images
        if not isinstance(images, data.Splits):
            splits = load_for(encoder, model, images, image_size, test_fraction=test_fraction)
        train_images, test_images = _labeled(splits, images)
        if flip is None:
            flip = data.policy_for(train_images.image_shape) != "tiny_gray"
        if smoke:
            train_images, test_images = (
                part.spread(_SMOKE_IMAGES) for part in (train_images, test_images)
            )
            seeds, steps = min(seeds, 2), _SMOKE_STEPS
        _log.say(
            f"{len(train_images)} labeled images of {len(train_images.class_names or ())} classes, "
            f"{len(test_images)} to test on"
        )
        comparison = finetuning.compare(
            model,
            train_images,
            test_images,
            folder,
            labels=labels,
            seeds=seeds,
            part=train,
            baselines=baselines,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            scratch_learning_rate=scratch_learning_rate,
            augmentation=default_augmentation(flip),
        )
        _log.say(f"\nAccuracy on the test images, %\n\n{comparison.table}\n")
        _log.say(f"The classifier is {comparison.classifier}, its classes are beside it.")
    return comparison


def _folder(encoder: Any, out: str | os.PathLike[str] | None, name: str) -> pathlib.Path:
    """Returns the folder to write to: `out`, or one beside the encoder."""
    if out is not None:
        return pathlib.Path(out)
    if not isinstance(encoder, (str, os.PathLike)):
        raise ValueError(
            "`out` must be given for an encoder that is not a file. Received: out=None"
        )
    path = pathlib.Path(encoder)
    return (path if path.is_dir() else path.parent) / name


def _labeled(splits: data.Splits, images: Any) -> tuple[data.ImageSet, data.ImageSet]:
    """Returns labeled images to train and to test on, or raises if they have no labels."""
    train, test = splits
    if test is None or not train.has_labels:
        raise ValueError(
            "`images` must have labels, such as a folder of class folders, and a test part; "
            f"data.split makes one. Received: {str(images)[:200]!r}, without "
            f"{'a test part' if train.has_labels else 'labels'}"
        )
    return train, test
