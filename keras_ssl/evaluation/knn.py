"""Accuracy of weighted k nearest neighbors by cosine similarity."""

from collections.abc import Sequence

import numpy as np

from keras_ssl._validation import check_count, check_positive
from keras_ssl.evaluation.features import Features, finite

PAPER_NEIGHBORS = (1, 5, 10, 20, 50, 200)
"""Numbers of neighbors that the duality paper tries, to report the best (supplement F)."""
PAPER_TEMPERATURES = (0.05, 0.07, 0.1, 0.2, 0.5, 1.0)
"""Temperatures that the duality paper tries with each of them (supplement F)."""


def knn_grid(
    train: Features,
    test: Features,
    neighbors: Sequence[int] = PAPER_NEIGHBORS,
    temperatures: Sequence[float] = PAPER_TEMPERATURES,
) -> dict[tuple[int, float], float]:
    """Computes the accuracy of k nearest neighbors for every k and temperature.

    A test sample gets the class with the largest sum of `exp(cosine / temperature)` over its k
    nearest training samples (Wu et al., 2018).

    Args:
        train: Features that vote.
        test: Features that are classified.
        neighbors: Values of k. Values above the number of training samples are left out.
        temperatures: Values of the temperature, positive.

    Returns:
        Accuracy in [0, 1] by (k, temperature).

    Raises:
        ValueError: if labels are missing, a k is below one, or a temperature is not positive.

    Example:
        >>> train = Features(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
        >>> test = Features(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
        >>> knn_grid(train, test, neighbors=[1], temperatures=[0.1])
        {(1, 0.1): 1.0}
    """
    check_labels(train, test)
    ks = sorted({check_count("neighbors", k) for k in neighbors})
    ks = [k for k in ks if k <= len(train.values)] or [len(train.values)]
    temperatures = [check_positive("temperatures", t) for t in temperatures]

    from sklearn.neighbors import NearestNeighbors

    # Of vectors of length one, the nearest are the most similar. For this metric scikit-learn goes
    # over blocks in compiled code: half the time of "cosine", and no matrix of all distances.
    search = NearestNeighbors(n_neighbors=ks[-1], metric="euclidean", algorithm="brute")
    search.fit(_directions(train.values, 0))
    distances, indices = search.kneighbors(_directions(test.values, 1))
    distances = np.square(distances) / 2  # 1 - cosine
    distances -= distances[:, :1]  # Otherwise all votes may be 0 at a small temperature.
    classes, codes = np.unique(train.labels, return_inverse=True)
    votes = codes[indices]  # (N, k)

    accuracy = {}
    for temperature in temperatures:
        # This is exp(cosine / t) up to a factor that all candidates share.
        weights = np.exp(-distances / temperature)
        scores = np.zeros((len(test.values), len(classes)))
        rows = np.arange(len(scores))
        for i in range(ks[-1]):
            scores[rows, votes[:, i]] += weights[:, i]
            if i + 1 in ks:
                accuracy[i + 1, temperature] = float(
                    np.mean(classes[scores.argmax(1)] == test.labels)
                )
    return accuracy


def _directions(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns rows of length one, with two more columns.

    A row of zeros becomes the unit vector of column `axis` of the two: its cosine with all others
    is 0.
    """
    if values.dtype.itemsize < 4:
        values = values.astype("float32")  # The squares of half precision overflow.
    # Divided by the largest entry first: the squares of large and of small numbers have no room.
    largest = np.abs(values).max(axis=1, keepdims=True)
    values = values / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    count, width = values.shape
    units = np.zeros((count, width + 2), lengths.dtype)
    np.divide(values, np.where(lengths > 0, lengths, 1), out=units[:, :width])
    units[:, width + axis] = lengths[:, 0] == 0
    return units


def knn_accuracy(
    train: Features, test: Features, neighbors: int = 20, temperature: float = 0.07
) -> float:
    """Computes the accuracy of k nearest neighbors at one setting.

    Args:
        train: Features that vote.
        test: Features that are classified.
        neighbors: k, at least 1. The defaults, 20 and a temperature of 0.07, are solo-learn's
            (Wu et al., 2018: 200 and 0.07). They are fixed, so that nothing is chosen on the test
            set.
        temperature: Positive.

    Returns:
        Accuracy in [0, 1].

    Example:
        >>> train = Features(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
        >>> test = Features(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
        >>> knn_accuracy(train, test, neighbors=1)  # the second is nearer to class 1
        0.5
    """
    return next(iter(knn_grid(train, test, [neighbors], [temperature]).values()))


def check_labels(*features: Features) -> None:
    """Raises unless all features are finite matrices with labels."""
    for part in features:
        if not isinstance(part, Features):
            raise TypeError(
                "`train` and `test` must be keras_ssl.evaluation.Features, see `extract`. "
                f"Received: {type(part).__name__}"
            )
        finite("features", part.values, 2, "a matrix (N, D)")
        labels = np.asarray(part.labels)
        if labels.shape != (len(part.values),) or labels.dtype.kind not in "iu":
            raise ValueError(
                "`labels` of features must be whole numbers, one for each row. Received: "
                f"{labels.dtype} of shape {labels.shape} for {len(part.values)} rows"
            )
        if part.values.shape[1] != features[0].values.shape[1]:
            raise ValueError(
                "`train` and `test` must be features of the same width. Received: "
                f"{[f.values.shape[1] for f in features]}"
            )
        if not len(labels) or labels.min() < 0:
            raise ValueError(
                "Labels are needed to judge an encoder by classification: give labeled images "
                "(the encoder itself needs none). Received: features without labels"
            )
