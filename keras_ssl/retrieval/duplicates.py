"""Images that are there several times: the same file, the same pixels, or nearly the same."""

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_ssl.data.sources import files, raw
from keras_ssl.evaluation.features import finite
from keras_ssl.retrieval.embeddings import Embeddings
from keras_ssl.retrieval.search import Nearest

SAME_FILE, SAME_PIXELS, NEAR = "same file", "same pixels", "near"
# Images of the same pixels have the same features, except for rounding: their pixels are compared.
_ALMOST_ONE = 0.999


class Pair(NamedTuple):
    """Two images that are the same, or nearly.

    Attributes:
        kind: "same file" (the same bytes), "same pixels" (of two files that differ, such as in
            their metadata or format) or "near".
        row_1: The earlier of the two.
        row_2: The later.
        similarity: Their cosine similarity.

    Example:
        `find_pairs` returns pairs. Of rows that are no files, it compares the features alone.

        >>> from keras_ssl.retrieval import Index
        >>> features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
        >>> nearest = Index(features).nearest_of(np.arange(3), k=1)
        >>> embeddings = Embeddings(np.array(["#0", "#1", "#2"]), features)
        >>> for pair in find_pairs(embeddings, nearest, threshold=0.9):
        ...     print(pair.kind, pair.row_1, pair.row_2, f"{pair.similarity:.3f}")
        near 0 2 0.995
    """

    kind: str
    row_1: int
    row_2: int
    similarity: float


def find_threshold(similarities: np.ndarray) -> float:
    """Finds the similarity from which on two images stand out as nearly the same.

    It compares each image's similarity to its nearest with those of all other images. Most images
    have no double, so that most of these similarities are those of different images. One that is
    far above them stands out: seven times as far above the median as the lower quartile is below
    it. Of normally distributed values that is Tukey's rule for those "far out" (three times the
    distance of the quartiles above the upper one), and one in a million lies there; but the upper
    quartile may already be one of doubles. The similarities s are first put on Fisher's scale,
    artanh(s), which stretches it towards 1 and makes them about normal.

    The threshold says what stands out in this set, for this encoder; it is no promise. Where many
    images have doubles, the median and the quartile are those of doubles, and the threshold is too
    high: give one then. For 3,781 photos of clothes and a SimCLR encoder of a few minutes it is
    0.9988: 97 % of copies saved again as JPEG of quality 50 are above it and 99 % of those of half
    the size, but only 3 % of those with 2.5 % cut off at each side. The factor of seven was chosen
    on the same photos, so these figures illustrate the rule; they do not validate it.

    Args:
        similarities: float (N,), each image's similarity to its nearest.

    Returns:
        A similarity, at most 1.

    Raises:
        ValueError: if the similarities are not a vector of finite numbers.

    Example:
        On Fisher's scale, the median is 1.0 and the lower quartile is 0.9. One image stands out.

        >>> similarities = np.tanh([0.8, 0.9, 1.0, 1.1, 3.0])
        >>> threshold = find_threshold(similarities)
        >>> print(f"{threshold:.3f} = tanh(1.0 + 7 * 0.1) = {np.tanh(1.7):.3f}")
        0.935 = tanh(1.0 + 7 * 0.1) = 0.935
        >>> (similarities > threshold).tolist()
        [False, False, False, False, True]
    """
    values = finite("similarities", similarities, 1, "a vector (N,)")
    scaled = np.arctanh(np.clip(values, -1 + 1e-7, 1 - 1e-7))
    lower, median = np.percentile(scaled, [25, 50])
    return float(np.tanh(median + 7 * (median - lower)))


def find_pairs(embeddings: Embeddings, nearest: Nearest, threshold: float) -> list[Pair]:
    """Finds the images that are the same, or more similar than a threshold.

    Files are compared by their bytes, all of them, unless they are in a bucket. The others are
    looked for among the nearest of each image, so that the number of pairs does not grow with the
    square of the images.

    Args:
        embeddings: The images.
        nearest: The nearest of every image.
        threshold: A similarity.

    Returns:
        The pairs: first the same files, then the same pixels, then the nearly same, those of the
        highest similarity first. Of n files of the same bytes, n - 1 pairs are with the first one.
    """
    # Features of the same pixels may differ by rounding, and a threshold may be as high as 1.
    rows, places = np.nonzero(nearest.similarities >= min(threshold, _ALMOST_ONE))
    others = nearest.indices[rows, places]
    similar = {
        (int(min(i, j)), int(max(i, j))): float(s)
        for i, j, s in zip(rows, others, nearest.similarities[rows, places], strict=True)
    }
    first_of = _same_bytes(embeddings)
    pairs = [Pair(SAME_FILE, i, j, 1.0) for j, i in first_of.items()]
    contents: dict[int, bytes] = {}
    for (i, j), similarity in similar.items():
        if first_of.get(i, i) == first_of.get(j, j):
            continue
        is_same = similarity > _ALMOST_ONE and _pixels(embeddings, i, contents) == _pixels(
            embeddings, j, contents
        )
        if is_same or similarity >= threshold:
            pairs.append(Pair(SAME_PIXELS if is_same else NEAR, i, j, similarity))
    order = [SAME_FILE, SAME_PIXELS, NEAR]
    return sorted(pairs, key=lambda p: (order.index(p.kind), -p.similarity, p.row_1, p.row_2))


def group(pairs: Sequence[Pair], count: int) -> list[list[int]]:
    """Puts images that are connected by pairs into groups.

    Args:
        pairs: The pairs.
        count: Number of images.

    Returns:
        The rows of each group in order; the largest group first.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    links = np.array([(pair.row_1, pair.row_2) for pair in pairs])
    graph = coo_array((np.ones(len(links)), links.T), shape=(count, count))
    numbers = connected_components(graph, directed=False)[1]
    groups: dict[int, list[int]] = {}
    for row in np.unique(links):
        groups.setdefault(int(numbers[row]), []).append(int(row))
    return sorted(groups.values(), key=lambda rows: (-len(rows), rows))


def _same_bytes(embeddings: Embeddings) -> dict[int, int]:
    """The first file of the same bytes, by the row of each later one."""
    sizes: dict[int, list[int]] = {}
    for row in range(len(embeddings.paths)):
        try:
            sizes.setdefault(os.stat(embeddings.file(row)).st_size, []).append(row)
        except OSError:
            continue  # It is no file, or no longer one, or in a bucket.
    first_of = {}
    for rows in sizes.values():
        seen: dict[bytes, int] = {}
        for row in rows if len(rows) > 1 else ():
            try:
                with open(embeddings.file(row), "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
            except OSError:
                continue
            if digest in seen:
                first_of[row] = seen[digest]
            else:
                seen[digest] = row
    return first_of


def _pixels(embeddings: Embeddings, row: int, contents: dict[int, bytes]) -> bytes:
    """A checksum of an image's pixels at full size; of what cannot be read, one of its own."""
    if row not in contents:
        try:
            file = embeddings.file(row)
            # Of measurements, Pillow would leave out bits, or all pages but the first.
            pixels = raw.read_numbers(file) if raw.kind(file) else files.pixels(file)
            text = f"{pixels.shape}, {pixels.dtype}".encode()
            contents[row] = hashlib.sha256(text + pixels.tobytes()).digest()
        except files.UNREADABLE:
            contents[row] = str(row).encode()
    return contents[row]
