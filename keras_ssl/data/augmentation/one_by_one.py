"""What the augmentations do to one image on the CPU: OpenCV, where it has the operation.

On single images, which stay in the processor's cache, OpenCV is several times as fast as TensorFlow
on batches (`benchmarks/views.py`). The results are those of the augmentations to rounding.

Images are float32 (height, width, channels). No function changes an image in place.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssl._tensors import Tensor

# OpenCV takes an image of more channels for something else (512 before version 5).
MOST_CHANNELS = 128
# A Gaussian reaches so many standard deviations to either side: the weights beyond sum to 6e-7.
_REACH = 5.0


def unit_floats(image: np.ndarray) -> np.ndarray:
    """Returns an image of bytes as floats in [0, 1], and any other as it is."""
    if image.dtype == np.float32:
        return image
    floats = image.astype("float32")
    floats *= np.float32(1 / 255)  # To divide the bytes would take twice as long.
    return floats


def resize_box(
    image: np.ndarray, box: Sequence[int] | None, size: tuple[int, int] | None
) -> np.ndarray:
    """Cuts a rectangle out of an image and resizes it, as `geometry.resize_boxes` does.

    Args:
        image: See the module.
        box: (top, left, height, width) in pixels; `None`: all of it.
        size: (height, width) of the result; `None`: those of the image.
    """
    import cv2

    top, left, height, width = box or (0, 0, *image.shape[:2])
    size = size or image.shape[:2]
    part = image[top : top + height, left : left + width]
    if (height, width) == size:
        return part
    if height <= size[0] and width <= size[1]:
        # Nothing is reduced, and there is nothing to antialias.
        return _shaped(cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR), image)
    rows, columns = (
        triangles(np.zeros((1, 1), "float32"), np.float32(old), old, new, np)
        for old, new in ((height, size[0]), (width, size[1]))
    )
    product = (rows @ part.reshape(height, -1)).reshape(size[0], width, -1)
    return np.ascontiguousarray(columns @ product)


def triangles(start: Any, length: Any, pixels: Any, new_pixels: Any, xp: Any) -> Tensor:
    """Returns the weight of each pixel in each new one, in a bilinear, antialiased resizing.

    Args:
        start: First pixel of the part that is resized, (..., 1, 1).
        length: Pixels of the part, of the same shape.
        pixels: Pixels of the image.
        new_pixels: Pixels of the result.
        xp: NumPy, or another namespace with NumPy's names.

    Returns:
        (..., new_pixels, pixels); rows sum to 1.
    """
    scale = length / xp.array(new_pixels, "float32")
    centers = xp.arange(pixels, dtype="float32") + 0.5
    new_centers = start + (xp.arange(new_pixels, dtype="float32")[:, None] + 0.5) * scale
    weights = xp.maximum(1 - xp.abs(centers - new_centers) / xp.maximum(scale, 1), 0)
    weights = xp.where((centers > start) & (centers < start + length), weights, 0)
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def flip(image: np.ndarray) -> np.ndarray:
    """Mirrors an image left to right."""
    import cv2

    return _shaped(cv2.flip(image, 1), image)


def mean_luma(image: np.ndarray, luma: Sequence[float]) -> float:
    """Returns the mean luma of three channels, else the mean of the channels."""
    import cv2

    channels = image.shape[2]
    if channels > 4:  # More than OpenCV averages.
        return float(image.mean())
    mean = cv2.mean(image)
    if channels == 3:
        return mean[0] * luma[0] + mean[1] * luma[1] + mean[2] * luma[2]
    return sum(mean) / channels  # Absent channels are 0.


def map_colors(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Maps the three channels x of each pixel to matrix (x, 1), clipped to [0, 1].

    Args:
        image: An image of 3 channels; see the module.
        matrix: float32 (3, 4), or (3, 3) without an offset.
    """
    import cv2

    return _clipped(cv2.transform(image, matrix))


def scale(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    """Maps each number x to gain x + offset, clipped to [0, 1]."""
    scaled = image * np.float32(gain)
    scaled += np.float32(offset)
    return _clipped(scaled)


def average(image: np.ndarray) -> np.ndarray:
    """Sets all channels to their mean."""
    return np.broadcast_to(image.mean(axis=2, keepdims=True), image.shape)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Inverts what is bright: x becomes 1 - x where x >= threshold."""
    return np.where(image >= np.float32(threshold), np.maximum(1 - image, 0), image)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs an image with a Gaussian, whose weights within the image sum to one."""
    import cv2

    height, width, channels = image.shape
    radius = min(math.ceil(_REACH * sigma), max(height, width) - 1)
    weights = np.exp(-np.square(np.arange(-radius, radius + 1) / sigma) / 2)
    weights = (weights / weights.sum()).astype("float32")
    blurred: Any = cv2.sepFilter2D(image, -1, weights, weights, borderType=cv2.BORDER_CONSTANT)
    blurred = blurred.reshape(height, width * channels)
    # Beyond the borders there is nothing; what is left of the weights sums to one again.
    sums = np.concatenate([[0], np.cumsum(weights, dtype="float64")])
    rows = _inside(sums, radius, height)
    columns = rows if width == height else _inside(sums, radius, width)
    blurred *= (1 / rows)[:, None]
    blurred *= np.repeat(1 / columns, channels)
    return blurred.reshape(image.shape)


def _inside(sums: np.ndarray, radius: int, side: int) -> np.ndarray:
    """Returns the sum of the weights that fall within an image, for each place along a side."""
    place = np.arange(side)
    first = np.maximum(radius - place, 0)
    last = np.minimum(radius + side - place, len(sums) - 1)
    return (sums[last] - sums[first]).astype("float32")


def _clipped(image: np.ndarray) -> np.ndarray:
    """Clips to [0, 1] in place; `np.clip` takes three times as long on a tiny image."""
    np.minimum(image, 1, out=image)
    return np.maximum(image, 0, out=image)


def _shaped(result: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Gives one channel its axis again, which OpenCV drops."""
    return result if result.ndim == 3 else result.reshape(*result.shape, image.shape[2])
