"""Judges an encoder, beside the two baselines that give a figure its meaning."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_ssl._keras import all_layers, renew_normalization
from keras_ssl._validation import check_count
from keras_ssl.data import ImageSet, Views
from keras_ssl.data.image_set import Places, check_image_set
from keras_ssl.data.views import check_policy
from keras_ssl.evaluation.features import (
    Features,
    extract,
    extract_views,
    prepared,
    raw_pixels,
)
from keras_ssl.evaluation.figures import ACCURACIES, FIGURES
from keras_ssl.evaluation.hypersphere import uniformity
from keras_ssl.evaluation.kept import kept
from keras_ssl.evaluation.knn import knn_accuracy
from keras_ssl.evaluation.linear_probe import linear_accuracy
from keras_ssl.evaluation.spectrum import alpha_req, lidar, rankme

# LiDAR uses 1,000 images, as in its paper, and ten views of each.
_LIDAR_IMAGES, _LIDAR_VIEWS = 1000, 10
# So many images of a set are judged: see `judge`.
MAX_IMAGES = 10_000


def judge(
    encoder: keras.Model,
    train: ImageSet,
    test: ImageSet | None = None,
    batch_size: int = 256,
    max_images: int = MAX_IMAGES,
    policy: Views | None = None,
    label_free: bool = True,
) -> dict[str, float]:
    """Computes k-nearest neighbors, linear probe and effective rank of an encoder's features.

    With a `policy`, it computes three more figures that need no labels: alpha-ReQ, uniformity and
    LiDAR.

    Args:
        encoder: See `keras_ssl.evaluation.extract`.
        train: Images whose features the classifiers learn from, and whose rank is computed.
        test: Images that the classifiers are tested on. `None`: only figures without labels.
        batch_size: Images per step.
        max_images: Larger sets are judged by this many of their images, evenly spaced. The default
            can tell apart encoders that differ by one percent, and takes a minute.
        policy: The policy that makes views for LiDAR: ten of each of 1,000 images.
        label_free: Whether the figures that need no labels are computed. `False`: only the
            accuracies.

    Returns:
        `"knn"` and `"linear"`, accuracies in [0, 1], if `test` is given. If `label_free`, also
        `"rankme"`, and with a policy `"alpha_req"`, `"uniformity"` and `"lidar"`.

    Raises:
        TypeError: for images that are not an `ImageSet`.
        ValueError: if `test` is given and either set has no labels, or if neither `test` nor
            `label_free` leaves anything to compute.

    Example:
        >>> from keras_ssl import data
        >>> digits = data.load("digits")
        >>> train, test = digits.train.subset(range(200)), digits.test.subset(range(50))
        >>> figures = judge(raw_pixels(train.image_shape), train, test)
        >>> list(figures), figures["knn"] > 0.5  # 0.1 is chance
        (['knn', 'linear', 'rankme'], True)
    """
    if policy is not None:
        check_policy("policy", policy)
    if test is None and not label_free:
        raise ValueError(
            "`test` must be given where `label_free` is False: there is nothing else to compute. "
            "Received: test=None"
        )
    train_features, test_features = _extracted(encoder, train, test, batch_size, max_images)
    figures = _figures(train_features, test_features, label_free)
    if label_free and policy is not None:
        figures["alpha_req"] = alpha_req(train_features.values)
        figures["uniformity"] = uniformity(train_features.values)
        sample = train.spread(_LIDAR_IMAGES)
        figures["lidar"] = lidar(extract_views(encoder, sample, policy, _LIDAR_VIEWS, batch_size))
    return figures


def judge_raw_pixels(
    train: ImageSet,
    test: ImageSet | None = None,
    batch_size: int = 256,
    max_images: int = MAX_IMAGES,
) -> tuple[dict[str, float], bool]:
    """Calls `judge` for raw pixels, unless an earlier call has done so on the same images.

    The figures are kept in the folder `keras_ssl` of Keras' own folder (`~/.keras`, or the
    environment variable `KERAS_HOME`). They are found by a checksum of all pixels that they follow
    from, and of the code that computes them.

    Args:
        train: See `judge`.
        test: See `judge`.
        batch_size: See `judge`.
        max_images: See `judge`.

    Returns:
        The figures, see `judge`, and whether they are of an earlier call.

    Example:
        >>> import os, tempfile
        >>> from unittest import mock
        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(100))
        >>> with tempfile.TemporaryDirectory() as home:
        ...     with mock.patch.dict(os.environ, KERAS_HOME=home):
        ...         calls = [judge_raw_pixels(images), judge_raw_pixels(images)]
        >>> [is_of_an_earlier_call for _, is_of_an_earlier_call in calls]
        [False, True]
    """
    check_image_set("train", train)
    features = _extracted(raw_pixels(train.image_shape), train, test, batch_size, max_images)
    return kept("raw-pixels", features, lambda: _figures(*features, label_free=True))


def check_classes(train: ImageSet, test: ImageSet) -> None:
    """Raises if a number is the label of one class in `train` and of another one in `test`."""
    given = train.class_names, test.class_names
    names = [one for one in given if one is not None]
    if len(names) < 2:
        return
    without_own = any([*one] == [*map(str, range(len(one)))] for one in names)
    if without_own and not all(all(map(str.isdecimal, one)) for one in names):
        return  # Numbers on one side, and names on the other.
    for i, (one, other) in enumerate(zip(*names, strict=False)):
        if one != other:
            raise ValueError(
                "`test` must have the classes of `train`, with the same numbers: pass the same "
                f"`class_names` to both. Received: class {i} is {one!r} in `train`, {other!r} in "
                "`test`"
            )


def _extracted(
    encoder: keras.Model,
    train: ImageSet,
    test: ImageSet | None,
    batch_size: int,
    max_images: int,
) -> tuple[Features, Features | None]:
    """Returns the features of (at most so many) training images and test images."""
    check_image_set("train", train)
    if test is not None:
        check_image_set("test", test)
        check_classes(train, test)
    check_count("max_images", max_images)
    encoder = prepared(encoder, train.image_shape)
    train_features = extract(encoder, to_judge("train", train, max_images), batch_size)
    if test is None:
        return train_features, None
    return train_features, extract(encoder, to_judge("test", test, max_images), batch_size)


def to_judge(name: str, images: ImageSet, count: int) -> ImageSet:
    """Returns at most `count` of some images, evenly spaced, and warns if they lack classes.

    Of labels that alternate, every k-th image may have the same ones.
    """
    some = images.spread(count)
    if len(some) < len(images) and images.has_labels and isinstance(images.keys, Places):
        before, left = (len(np.unique(one.labels())) for one in (images, some))
        if left < before:
            warnings.warn(
                f"`{name}` has images of {before} classes, and the {len(some):,} of them that are "
                f"judged, evenly spaced, are of {left}: shuffle the images if their classes "
                "alternate, or leave out classes of very few.",
                stacklevel=4,
            )
    return some


def _figures(train: Features, test: Features | None, label_free: bool) -> dict[str, float]:
    """Computes the figures that follow from the features alone."""
    figures = {}
    if test is not None:
        figures["knn"] = knn_accuracy(train, test)
        figures["linear"] = linear_accuracy(train, test)
    if label_free:
        figures["rankme"] = rankme(train.values)
    return figures


def judge_beside_baselines(
    encoder: keras.Model,
    train: ImageSet,
    test: ImageSet | None = None,
) -> dict[str, dict[str, float]]:
    """Judges raw pixels (`judge_raw_pixels`), the encoder with new weights, and the encoder.

    Args:
        encoder: A trained encoder, see `keras_ssl.encoders.as_encoder`. The untrained one is a
            copy of it with new weights, and with the normalization of its images.
        train: See `judge`.
        test: See `judge`.

    Returns:
        Figures by "raw pixels", "untrained", "trained", in this order.

    Example:
        This encoder is the pixels, so that its figures are those of raw pixels.

        >>> import os, tempfile
        >>> from unittest import mock
        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(20))
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> with tempfile.TemporaryDirectory() as home:
        ...     with mock.patch.dict(os.environ, KERAS_HOME=home):
        ...         rows = judge_beside_baselines(encoder, images)
        >>> list(rows), rows["raw pixels"] == rows["trained"]
        (['raw pixels', 'untrained', 'trained'], True)
    """
    encoder = prepared(encoder, check_image_set("train", train).image_shape)

    pixels, _ = judge_raw_pixels(train, test)
    return {
        "raw pixels": pixels,
        "untrained": judge(untrained(encoder), train, test),
        "trained": judge(encoder, train, test),
    }


def untrained(encoder: keras.Model) -> keras.Model:
    """Returns a copy of an encoder with new weights.

    Its normalization of images, which no training changes, keeps its mean and variance.

    Args:
        encoder: A functional model; see `keras_ssl.encoders.as_encoder`.

    Example:
        >>> encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> encoder.set_weights([weight + 1 for weight in encoder.get_weights()])
        >>> [float(model.get_weights()[1][0]) for model in (encoder, untrained(encoder))]  # biases
        [1.0, 0.0]
    """
    clone = keras.models.clone_model(encoder)
    for old, new in zip(all_layers(encoder), all_layers(clone), strict=True):
        if isinstance(old, keras.layers.Normalization):
            new.set_weights(old.get_weights())
    renew_normalization(clone)
    return clone


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Formats figures as a Markdown table, with accuracies in percent and strings as given.

    Example:
        >>> print(table({"untrained": {"knn": 0.5}, "trained": {"knn": 0.925, "rankme": 31.4}}))
        |           | knn    | rankme |
        |-----------|--------|--------|
        | untrained | 50.0 % | -      |
        | trained   | 92.5 % | 31.4   |
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))

    def cell(column: str, value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or "-"
        if column in ACCURACIES:
            return f"{100 * value:.1f} %"
        known = FIGURES.get(column)
        digits = known.digits if known else 2 if column == "temperature" else 1
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    body = [[name, *(cell(c, row.get(c)) for c in columns)] for name, row in rows.items()]
    lines = [["", *columns], *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    text = [
        "| " + " | ".join(part.ljust(w) for part, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)
