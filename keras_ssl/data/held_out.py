"""Holds out images to choose settings by, beside those to train on and those to test on."""

import math
from typing import NamedTuple

import numpy as np

from keras_ssl._validation import check_fraction, check_seed
from keras_ssl.data.image_set import ImageSet, Splits
from keras_ssl.data.stream import Stream


class HeldOut(NamedTuple):
    """Images in three parts: to train on, to choose settings by, and to test on at the end.

    Attributes:
        train: Images to pretrain on, which does not use their labels, and from which classifiers
            learn.
        validation: Images by which settings are chosen.
        test: Images by which nothing was chosen, or `None` if there are none.

    Example:
        `hold_out` returns it.

        >>> from keras_ssl import data
        >>> parts = data.hold_out(data.load("digits"))
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (1149, 288, 360)
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None


def hold_out(splits: Splits, validation_fraction: float = 0.2, seed: int = 0) -> HeldOut:
    """Splits a validation part off the images to train on.

    Args:
        splits: Images to train on and images to test on; see `keras_ssl.data.load`.
        validation_fraction: Fraction of the images to train on that becomes the validation part,
            above 0 and below 1. The choice is stratified by class where there are labels.
        seed: Seed of the choice.

    Raises:
        ValueError: for a fraction that leaves fewer than 2 images in either part, or a seed below
            0.
        TypeError: for splits of another type.

    Example:
        A fifth of 10 images are 2, one of each class.

        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = data.from_arrays(np.zeros((10, 4, 4, 1)), labels=[0, 1] * 5)
        >>> train, validation, test = hold_out(data.Splits(images, None))
        >>> len(train), len(validation), test
        (8, 2, None)
        >>> sorted(validation.labels().tolist())
        [0, 1]
    """
    if not (isinstance(splits, tuple) and len(splits) == 2):
        raise TypeError(
            "`splits` must be what keras_ssl.data.load returns, or keras_ssl.data.Splits(train, "
            f"test). Received: {type(splits).__name__}"
        )
    train, test = splits
    is_set = isinstance(test, (ImageSet, type(None)))
    if not isinstance(train, ImageSet) or not is_set:
        raise TypeError(
            "`splits` must hold two keras_ssl.data.ImageSet, or one and None. "
            f"Received: {type(train).__name__} and {type(test).__name__}"
        )
    seed = check_seed("seed", seed)
    size = train.example_count
    fraction = check_fraction("validation_fraction", validation_fraction)
    # As scikit-learn does, which chooses where there are labels.
    count = math.ceil(fraction * size) if train.has_labels else round(fraction * size)
    if not 2 <= count <= size - 2:
        raise ValueError(
            "`validation_fraction` must leave at least 2 images in each part. Received: "
            f"validation_fraction={validation_fraction} of {size} images"
        )
    if train.has_labels or isinstance(train, Stream):
        kept, chosen = train.parts(fraction, seed)
        return HeldOut(kept, chosen, test)
    order = np.random.RandomState(seed).permutation(size)
    kept, chosen = (train.subset(train.places(part)) for part in (order[count:], order[:count]))
    return HeldOut(kept, chosen, test)
