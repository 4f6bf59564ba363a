"""`Index`: exact search of the nearest by cosine similarity, on blocks of rows."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_ssl import _log
from keras_ssl._validation import check_count

# Rows that are read or searched for at a time: 8 MB of 2,048 numbers.
_ROWS = 1024


class Nearest(NamedTuple):
    """The nearest rows of some rows, the most similar first.

    Attributes:
        indices: int64 (Q, k): rows of the index.
        similarities: float32 (Q, k): their cosine similarities, in [-1, 1].

    Example:
        A row is not its own nearest, but one of the same direction is.

        >>> index = Index(np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]))
        >>> found = index.nearest_of(np.array([0]), k=2)
        >>> found.indices.tolist(), found.similarities.tolist()
        ([[2, 1]], [[1.0, 0.0]])
    """

    indices: np.ndarray
    similarities: np.ndarray


class Index:
    """Features that can be searched for the nearest by cosine similarity.

    Cosines are of the features as they are, as in `keras_ssl.evaluation`. With `center`, the mean
    of all features is subtracted first. Features of networks have a large part in common, mostly
    because they come out of a ReLU, so that all cosines are close to 1; centered, 0 means "as
    different as two images of this set are on average". That reads better and finds less: measured
    on 3,781 photos of clothes, the middle 90 % of cosines went from -0.57 to 0.72 instead of 0.44
    to 0.92, but 68 % instead of 97 % of copies saved again as JPEG of quality 50 stood out as
    doubles (`find_threshold`), and 27.2 % against 27.0 % of the nearest ten were of the same class;
    of an untrained encoder it was 1 % instead of 56 %, and 28.1 % against 30.3 %.

    The search is exact and goes over blocks, so that there is never a matrix of all similarities;
    the features are once in memory, in float32. scikit-learn does it.

    Args:
        features: (N, D), finite, at least two rows.
        center: Whether the mean is subtracted.

    Raises:
        ValueError: if the features are not a finite matrix of two rows or more, or if all rows are
            the same.

    Example:
        The cosine of 45 degrees is 0.707, however long the vectors are.

        >>> index = Index(np.array([[1.0, 0.0], [5.0, 5.0], [0.0, 1.0]]))
        >>> found = index.nearest(np.array([[2.0, 0.0]]), k=2)
        >>> found.indices.tolist(), [f"{s:.3f}" for s in found.similarities[0]]
        ([[0, 1]], ['1.000', '0.707'])
    """

    def __init__(self, features: np.ndarray, center: bool = False) -> None:
        if np.ndim(features) != 2 or len(features) < 2 or features.dtype.kind != "f":
            raise ValueError(
                "`features` must be floats (N, D) of two rows or more. Received: "
                f"shape={np.shape(features)}"
            )
        count, width = features.shape
        total = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(features))
        if not np.isfinite(total).all():
            raise ValueError("`features` must be finite numbers. Received: NaN or infinity")
        mean = total / count
        self.mean = mean if center else np.zeros(width)
        self.units = np.empty((count, width), np.float32)
        row, farthest, largest = 0, 0.0, 0.0
        for block in _blocks(features):
            self.units[row : row + len(block)] = self._unit(block)
            row += len(block)
            farthest = max(farthest, float(np.abs(block - mean).max()))
            largest = max(largest, float(np.abs(block).max()))
        # Rounding errors of float32 are about 1e-7 of the numbers.
        if farthest <= 1e-6 * largest:
            raise ValueError(
                "`features` must differ from row to row: the encoder gives the same numbers for "
                "all images, it is collapsed. Received: rows that are all the same"
            )

        from sklearn.neighbors import NearestNeighbors

        # Of vectors of length one, the nearest are the most similar. For this metric, scikit-learn
        # goes over blocks of both sides in compiled code, in float64 where float32 would cancel.
        self._search = NearestNeighbors(algorithm="brute", metric="euclidean")
        # Rows of zeros have no direction, and would be nearer to all than rows at a right angle.
        # With a column in which they alone are 1, they are at a right angle, too.
        is_zero = ~self.units.any(axis=1)
        self._has_zeros = bool(is_zero.any())
        self._search.fit(np.c_[self.units, is_zero] if self._has_zeros else self.units)

    def __len__(self) -> int:
        return len(self.units)

    def _unit(self, features: np.ndarray) -> np.ndarray:
        """Features of length one, float32, centered if that is wished."""
        centered = features.astype(np.float64) - self.mean
        length = np.linalg.norm(centered, axis=1, keepdims=True)
        return (centered / np.maximum(length, 1e-30)).astype(np.float32)

    def nearest(self, features: np.ndarray, k: int) -> Nearest:
        """Finds the rows that are nearest to other features.

        Args:
            features: float (Q, D), of images that need not be in the index.
            k: Number of rows, at most N.
        """
        k = min(check_count("k", k), len(self))
        return self._nearest(self._unit(np.asarray(features)), k)

    def nearest_of(self, rows: np.ndarray, k: int) -> Nearest:
        """Finds the rows that are nearest to rows of the index, themselves left out.

        Args:
            rows: int (Q,).
            k: Number of rows, at most N - 1.
        """
        k = min(check_count("k", k), len(self) - 1)
        found = []
        for first in range(0, len(rows), _ROWS):
            chosen = rows[first : first + _ROWS]
            indices, similarities = self._nearest(self.units[chosen], k + 1)
            # A row is not always the first: others may be the same. Then the last one is left out.
            others = indices != chosen[:, None]
            others[others.all(axis=1), -1] = False
            found.append(
                Nearest(indices[others].reshape(-1, k), similarities[others].reshape(-1, k))
            )
            _log.advance(first + len(chosen), len(rows))
        return Nearest(*map(np.concatenate, zip(*found, strict=True)))

    def _nearest(self, units: np.ndarray, k: int) -> Nearest:
        queries = np.pad(units, ((0, 0), (0, 1))) if self._has_zeros else units
        indices = self._search.kneighbors(queries, k, return_distance=False)
        # The distance would be no good for a row of zeros, which has no direction.
        similarities = np.empty(indices.shape, np.float32)
        for i in range(k):
            similarities[:, i] = np.einsum("nd,nd->n", units, self.units[indices[:, i]])
        return Nearest(indices.astype(np.int64), np.clip(similarities, -1, 1))


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(features), _ROWS):
        yield np.asarray(features[first : first + _ROWS])
