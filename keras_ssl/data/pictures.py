"""Pictures of images and their views."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras.ops import convert_to_numpy

from keras_ssl._text import plain
from keras_ssl._validation import check_count, check_seed
from keras_ssl.data.augmentation.pixels import to_unit_floats
from keras_ssl.data.image_set import ImageSet, captions, spread_places
from keras_ssl.data.views import Views, check_policy

# Height of letters and lines of captions, in pixels, and the most characters of an image's name.
_LETTER, _LINE, _LONGEST = 11, 15, 24


def view_grid(
    images: Any,
    policy: Views,
    path: str | os.PathLike[str],
    count: int = 8,
    draws: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Draws a grid of images and their views, and writes it to a picture file.

    Each row shows one image and then its views, which are drawn `draws` times. A row has the name
    of the image: of its file if it has one, else of its class if it has a label, else its place.
    If the images have groups, it shows two of one group, and then the views of both.

    Args:
        images: An `ImageSet`, or an array (N, height, width, channels) of bytes or of floats in
            [0, 1].
        policy: The policy that makes the views.
        path: Picture file to write, such as "views.png".
        count: Number of images, evenly spaced over all.
        draws: Number of times that each view is drawn.
        seed: Seed of the draws.

    Returns:
        The picture, uint8 (rows, columns, 3).

    Example:
        >>> import os
        >>> import tempfile
        >>> from keras_ssl import data
        >>> images = data.load("digits").train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = view_grid(images, data.tiny_gray(), f"{folder}/views.png", count=2)
        ...     print(os.listdir(folder), picture.dtype, picture.shape[2])
        ['views.png'] uint8 3
    """
    from PIL import Image

    check_policy("policy", policy)
    count, draws = check_count("count", count), check_count("draws", draws)
    seed = check_seed("seed", seed)
    if isinstance(images, ImageSet):
        batches, _, names = images.sample(count, seed)
    else:
        places = spread_places(len(images), min(count, len(images)))
        chosen = to_unit_floats(np.asarray(images)[places])
        batches, names = (convert_to_numpy(chosen),), captions(places)
    columns = [policy.leave(batch)[0] for batch in batches]
    titles = ["image"] if len(batches) == 1 else [f"image {i + 1}" for i in range(len(batches))]
    for draw in range(draws):
        views = policy.of(batches, (seed, draw))
        columns += views
        titles += view_titles(len(views), f"\ndraw {draw + 1}" if draws > 1 else "")
    picture = mosaic(columns, titles, names)
    Image.fromarray(picture).save(path)
    return picture


def view_titles(count: int, end: str = "") -> list[str]:
    """Returns "view 1", "view 2" and so on, `count` of them, each with `end` after it."""
    return [f"view {number}{end}" for number in range(1, count + 1)]


def mosaic(
    columns: Sequence[Any], titles: Sequence[str] = (), names: Sequence[str] = ()
) -> np.ndarray:
    """Puts columns of images side by side in one picture.

    Args:
        columns: Floats in [0, 1], each (rows, height, width, channels). Smaller ones are enlarged.
        titles: Text above each column, of one line or more. Default: none.
        names: Text at the left of each row, of one line. Default: none.

    Returns:
        The picture, uint8 (pixels, pixels, 3).
    """
    columns = _enlarged([_rgb(convert_to_numpy(column)) for column in columns])
    border = [(0, 0), (1, 1), (1, 1), (0, 0)]
    tiles = [np.pad(column, border, constant_values=1.0) for column in columns]
    grid = np.concatenate([np.concatenate(list(tile), axis=0) for tile in tiles], axis=1)
    picture = np.round(grid * 255).astype(np.uint8)
    # Tiny images are enlarged so that they can be seen: to about 64 pixels of height.
    zoom = max(1, 64 // columns[0].shape[1])
    picture = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return _captioned(picture, titles, names) if titles or names else picture


def _captioned(picture: np.ndarray, titles: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Adds a margin with titles above a picture, and one with names at its left."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_LETTER)
    names = [plain(name, _LONGEST) for name in names]
    lines = [title.split("\n") for title in titles]
    left = max((math.ceil(font.getlength(name)) + 8 for name in names), default=0)
    top = _LINE * max(map(len, lines), default=0)
    whole = Image.new("RGB", (left + picture.shape[1], top + picture.shape[0]), "white")
    whole.paste(Image.fromarray(picture), (left, top))
    draw = ImageDraw.Draw(whole)
    for i, name in enumerate(names):
        y = top + (i + 0.5) * picture.shape[0] / len(names)
        draw.text((4, y), name, "black", font, anchor="lm")
    for i, title in enumerate(lines):
        x = left + (i + 0.5) * picture.shape[1] / len(titles)
        for j, line in enumerate(title):
            draw.text((x, (j + 0.5) * _LINE), line, "black", font, anchor="mm")
    return np.asarray(whole)


def _enlarged(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Enlarges all columns to the largest size, by repeated pixels and a white border."""
    sizes = [max(column.shape[axis] for column in columns) for axis in (1, 2)]

    def enlarge(column: np.ndarray) -> np.ndarray:
        zoom = min(size // own for size, own in zip(sizes, column.shape[1:3], strict=True))
        column = column.repeat(zoom, axis=1).repeat(zoom, axis=2)
        rest = [size - own for size, own in zip(sizes, column.shape[1:3], strict=True)]
        borders = [(size // 2, size - size // 2) for size in rest]
        return np.pad(column, [(0, 0), *borders, (0, 0)], constant_values=1.0)

    return [enlarge(column) for column in columns]


def _rgb(images: np.ndarray) -> np.ndarray:
    """Converts images to 3 channels: repeats one, adds zeros to two, takes the first 3 of more."""
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    if channels == 2:
        return np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    return images[..., :3]
