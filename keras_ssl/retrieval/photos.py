"""The photos of pictures: read from their files, or out of a set of images."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_ssl.data import ImageSet
from keras_ssl.data.image_set import Places
from keras_ssl.retrieval.embeddings import Embeddings, place_of
from keras_ssl.retrieval.gallery import as_tile, read_tile

# Images that are decoded at a time.
_BATCH = 64


def read_photos(
    photos: Iterable[int | str], embeddings: Embeddings, images: ImageSet | None, scaling: Any
) -> dict[int | str, np.ndarray]:
    """Reads photos for pictures.

    Args:
        photos: Rows of the embeddings, or files.
        embeddings: The embeddings.
        images: The images whose rows are not files, in the order in which they were embedded.
        scaling: How measurements are scaled; `None` for photos.

    Returns:
        By photo, uint8 (TILE, TILE, 3).
    """
    shape = embeddings.about.get("image_shape") or (None, None, 3)
    found: dict[int | str, np.ndarray] = {}
    places: dict[int, int | str] = {}  # Rows by places in `images`.
    for photo in photos:
        path = str(embeddings.paths[photo]) if isinstance(photo, int) else photo
        place = place_of(path) if isinstance(photo, int) else None
        if images is not None and place is not None:
            places[place] = photo
        else:
            file = embeddings.file(photo) if isinstance(photo, int) else photo
            found[photo] = read_tile(file, shape[2], scaling)
    if images is not None and places:
        order = sorted(places)
        for place, image in zip(order, _at_places(images, order), strict=True):
            found[places[place]] = as_tile(image)
    return found


def _at_places(images: ImageSet, places: list[int]) -> Iterator[np.ndarray]:
    """Gives the images at places in ascending order."""
    if isinstance(images.keys, Places):
        for batch, _ in images.subset(places).batches(_BATCH):
            yield from np.asarray(batch)
        return
    # Others are read from their beginning, once.
    wanted, first = set(places), 0
    for batch, _ in images.batches(_BATCH):
        if wanted.intersection(range(first, first + len(batch))):
            pixels = np.asarray(batch)
            yield from (pixels[i] for i in range(len(pixels)) if first + i in wanted)
        first += len(batch)
        if first > places[-1]:
            return
