"""Pictures of photos in rows, with a caption below each."""

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_ssl._files import whole
from keras_ssl._text import plain
from keras_ssl.data.sources import files, raw

# Height and width of a photo in a picture, in pixels: ten of them and a query fit onto a screen.
TILE = 128
# The border of a photo, and the height of a line of its caption.
_BORDER, _LINE = 4, 15
# The most characters of a line: as many as fit below a photo.
_LETTERS = 20


class Tile(NamedTuple):
    """A photo in a picture.

    Attributes:
        pixels: uint8 (TILE, TILE, 3).
        lines: The caption, line by line. What is too long is shortened in its middle.
    """

    pixels: np.ndarray
    lines: Sequence[str]


def read_tile(
    path: str | os.PathLike[str], channels: int | None = 3, scaling: Any = None
) -> np.ndarray:
    """Reads a photo for a picture; one that cannot be read is gray.

    Args:
        path: Its file.
        channels: Number of channels, of measurements.
        scaling: How measurements are scaled; `None` for photos.

    Returns:
        uint8 (TILE, TILE, 3).
    """
    with contextlib.suppress(files.UNREADABLE):
        if scaling is None:
            return files.read(os.fspath(path), TILE, 3)
        return as_tile(raw.read(os.fspath(path), TILE, channels or 3, scaling))
    return np.full((TILE, TILE, 3), 192, np.uint8)


def as_tile(image: np.ndarray) -> np.ndarray:
    """Brings an image to the size of a photo in a picture.

    Args:
        image: float in [0, 1], (height, width, channels). Of more than three channels, the first
            three are shown; of two, the first.

    Returns:
        uint8 (TILE, TILE, 3).
    """
    import PIL.Image

    shown = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
    picture = PIL.Image.fromarray(np.round(255 * np.clip(shown, 0, 1)).astype(np.uint8))
    # Small images are enlarged without smoothing, so that their pixels can be seen.
    is_small = min(picture.size) <= TILE // 2
    how = PIL.Image.Resampling.NEAREST if is_small else PIL.Image.Resampling.BICUBIC
    return np.asarray(picture.resize((TILE, TILE), how))


def draw_rows(path: pathlib.Path, rows: Sequence[Sequence[Tile]], lead: int = 0) -> None:
    """Draws photos in rows, and writes the picture to a PNG file, whole or not at all.

    Args:
        path: The file.
        rows: The photos of each row.
        lead: Number of photos at the beginning of each row that are set apart from the others.
    """
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    font = PIL.ImageFont.load_default(11)
    lines = max(len(tile.lines) for row in rows for tile in row)
    gap = 4 * _BORDER if lead else 0
    cell = TILE + 2 * _BORDER, TILE + 3 * _BORDER + lines * _LINE
    size = gap + cell[0] * max(map(len, rows)), cell[1] * len(rows)
    picture = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(picture)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            x = j * cell[0] + _BORDER + (gap if j >= lead else 0)
            y = i * cell[1] + _BORDER
            picture.paste(PIL.Image.fromarray(tile.pixels), (x, y))
            for number, line in enumerate(tile.lines):
                place = x, y + TILE + 1 + number * _LINE
                if line:
                    draw.text(place, plain(line, _LETTERS), "black", font)
    with whole(path) as partial:
        picture.save(partial, "PNG")
