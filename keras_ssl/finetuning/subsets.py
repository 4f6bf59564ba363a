"""Chooses which images are labeled: few, of every class, and the same ones among the more."""

from typing import Any

import numpy as np

from keras_ssl._validation import check_seed


def check_label_fraction(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not above 0 and at most 1."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if not is_number or isinstance(value, bool) or not 0 < value <= 1:
        raise ValueError(
            f"`{name}` must be fractions of the labels, above 0 and at most 1. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def label_subset(labels: Any, fraction: float, seed: int = 0) -> np.ndarray:
    """Chooses a fraction of the images of each class, at least one of each.

    The subsets of one seed are nested: a smaller fraction chooses some of the images that a larger
    one chooses, and no others.

    Args:
        labels: Class of each image, whole numbers from 0, (N,).
        fraction: Fraction of the images of each class, above 0 and at most 1. The number of images
            is rounded to the nearest one.
        seed: Seed of the choice.

    Returns:
        Places of the chosen images in rising order, int64.

    Raises:
        ValueError: for labels that are not whole numbers from 0, or a value out of its range.

    Example:
        >>> labels = [0, 0, 0, 0, 1, 1]
        >>> len(label_subset(labels, 0.5)), len(label_subset(labels, 0.01))
        (3, 2)
    """
    classes = np.asarray(labels)
    is_right = classes.ndim == 1 and classes.size and classes.dtype.kind in "iu"
    if not is_right or classes.min() < 0:
        raise ValueError(
            "`labels` must be whole numbers from 0, one for each image. "
            f"Received: {classes.dtype} of shape {classes.shape}"
        )
    fraction, seed = check_label_fraction("fraction", fraction), check_seed("seed", seed)
    chosen = []
    for one in np.unique(classes):
        places = np.flatnonzero(classes == one)
        order = np.random.default_rng([seed, int(one)]).permutation(len(places))
        count = max(1, int(fraction * len(places) + 0.5))
        chosen.append(places[order[:count]])
    return np.sort(np.concatenate(chosen))
