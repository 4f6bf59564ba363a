"""Random draws of the augmentations: functions of a seed and an image's number, without a backend.

A draw is the output of a counter-based generator, Threefry-2x32 with 20 rounds: the key comes from
the seed, the counter is (image, number of the draw), and there is no state. The generator uses only
operations on 32-bit integers, so that NumPy, TensorFlow (eager, in a graph, under XLA) and any
other backend draw the same bits. What follows uses only operations that all of them round in the
same way.

`xp` does the computing: NumPy, or a namespace with its names, such as `keras.ops` in a graph.

References:
    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssl._tensors import Tensor

# Threefry-2x32's rotations of the rounds, repeated, and the parity constant of its key schedule.
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.array([0x1BD11BDA], "int32")
_ROUNDS = 20

# torchvision tries ten pairs of an area and a ratio; two numbers place the chosen rectangle.
CROP_TRIES = 10
CROP_NUMBERS = 2 * CROP_TRIES + 2


def threefry(key: Sequence[Any], counter: Sequence[Any], xp: Any = np) -> tuple[Tensor, Tensor]:
    """Computes two random words for each counter.

    Args:
        key: Two words, int32 of shape (1,).
        counter: Two words, int32 of any shapes that broadcast, of rank 1 at least (NumPy warns
            when scalars overflow).
        xp: See the module.

    Returns:
        Two arrays of int32 whose 32 bits are all random.
    """
    key = [xp.array(word, "int32") for word in key]
    schedule = [*key, key[0] ^ key[1] ^ _PARITY]
    a, b = (xp.array(word, "int32") + k for word, k in zip(counter, key, strict=True))
    for i in range(_ROUNDS):
        by = _ROTATIONS[i % len(_ROTATIONS)]
        a = a + b
        # Right shifts of int32 copy the sign; the mask keeps only the bits that came around.
        b = xp.left_shift(b, by) | (xp.right_shift(b, 32 - by) & ((1 << by) - 1))
        b = b ^ a
        if i % 4 == 3:
            turn = i // 4 + 1
            a = a + schedule[turn % 3]
            b = b + schedule[(turn + 1) % 3] + turn
    return a, b


def word(number: Any, xp: Any = np) -> Tensor:
    """Returns the lower 32 bits of a whole number or a scalar integer tensor, int32 (1,)."""
    try:
        bits = operator.index(number) & 0xFFFFFFFF
    except TypeError:  # A tensor of a graph, whose value is not known yet.
        return xp.array(xp.reshape(number, (1,)), "int32")
    return np.array([bits], "uint32").view("int32")


def key(numbers: Sequence[Any], xp: Any = np) -> tuple[Tensor, Tensor]:
    """Makes a key from whole numbers such as (seed, step) or (seed, epoch, step).

    The first two numbers are the key, and each further one is folded in.

    Args:
        numbers: One or more numbers of any size and sign, or scalar tensors of integers. They
            count modulo 2^32: equal numbers give equal keys, whatever their type.
        xp: See the module.

    Returns:
        Two words, int32 of shape (1,).
    """
    first, second, *others = [*numbers, 0] if len(numbers) == 1 else numbers
    folded = word(first, xp), word(second, xp)
    for number in others:
        folded = fold(folded, number, xp)
    return folded


def fold(key: Sequence[Any], number: Any, xp: Any = np) -> tuple[Tensor, Tensor]:
    """Derives a different key for each whole number; see `key`."""
    # No draw has this counter, because `numbers` counts its blocks from 0.
    return threefry(key, (word(number, xp), np.array([-1], "int32")), xp)


def numbers(key: Sequence[Any], images: Tensor, count: int, xp: Any = np) -> Tensor:
    """Draws numbers uniform in [0, 1) for each image.

    Number j of image i depends on (key, i, j) alone, not on how many images or numbers there are.

    Args:
        key: Two words, int32 of shape (1,).
        images: Numbers of the images, such as their places in the batch, int32 (N,).
        count: How many numbers to draw for each image; it may be a tensor.
        xp: See the module.

    Returns:
        float32 (N, count), multiples of 2^-24: the upper 24 bits of a word, exact in float32.
    """
    blocks = (count + 1) // 2  # A block is two words.
    counter = images[:, None], xp.arange(blocks, dtype="int32")[None, :]
    pairs = xp.stack(threefry(key, counter, xp), axis=-1)  # (N, blocks, 2)
    words = xp.reshape(pairs, (-1, 2 * blocks))[:, :count]
    return xp.array(xp.right_shift(words, 8) & 0xFFFFFF, "float32") * 2**-24


def two_of(numbers: Tensor, count: Tensor, xp: Any = np) -> tuple[Tensor, Tensor]:
    """Maps numbers in [0, 1) to two different ones of `count` things, or twice to the only one.

    Args:
        numbers: Uniform in [0, 1), float32 (..., 2).
        count: How many things there are, int64 (...), at least 1.
        xp: See the module.

    Returns:
        Two numbers below `count`, int64 (...).
    """
    size = xp.array(count, "float32")  # Numbers are below 1, and so are the floors below.
    first = xp.array(xp.floor(numbers[..., 0] * size), "int64")
    further = xp.array(xp.floor(numbers[..., 1] * xp.maximum(size - 1, 1)), "int64")
    return first, (first + 1 + further) % count


def uniform(numbers: Tensor, low: float, high: float, xp: Any = np) -> Tensor:
    """Maps numbers in [0, 1) to draws uniform in [low, high], float32 of the same shape.

    The number that is added to `low` is cut to 24 bits after the point. Without that, some
    compilers would fuse the product and the sum, and round once where others round twice.
    """
    return low + xp.floor(numbers * ((high - low) * 2**24)) * 2**-24


def log_uniform(numbers: Tensor, low: float, high: float, xp: Any = np) -> Tensor:
    """Maps numbers in [0, 1) to draws from [low, high] whose logarithm is uniform.

    The result is `low * (high / low) ** numbers`, of the same shape. The exponential functions of
    backends differ in the last bit. Therefore the result is a product of two factors, one from the
    upper and one from the lower 12 of the 24 bits, and both factors come from tables.
    """
    steps = np.log(high / low) * np.arange(4096) / 4096
    upper = (low * np.exp(steps)).astype("float32")
    lower = np.exp(steps / 4096).astype("float32")
    scaled = numbers * 4096
    floor = xp.floor(scaled)
    i, j = xp.array(floor, "int32"), xp.array((scaled - floor) * 4096, "int32")
    return xp.take(upper, i) * xp.take(lower, j)


def crop_boxes(
    numbers: Tensor,
    size: Sequence[Any],
    scale: Sequence[float],
    ratio: Sequence[float],
    xp: Any = np,
) -> Tensor:
    """Draws rectangles of images as torchvision's `RandomResizedCrop` does.

    Each of ten tries draws an area, uniform in `scale` times the image's, and a ratio, log-uniform
    in `ratio`, and rounds the sides to whole pixels. The first rectangle that fits is placed
    uniformly in the image. If none fits, the result is the largest central rectangle whose ratio is
    allowed.

    Args:
        numbers: Uniform in [0, 1), float32 (N, CROP_NUMBERS).
        size: (height, width) of the images, in pixels.
        scale: (low, high) of the area, as a fraction of the image's.
        ratio: (low, high) of width over height.
        xp: See the module.

    Returns:
        (top, left, height, width) of each rectangle, in pixels, int32 (N, 4).
    """
    height, width = (xp.array(side, "float32") for side in size)
    tries = numbers[:, :CROP_TRIES], numbers[:, CROP_TRIES : 2 * CROP_TRIES]
    area = uniform(tries[0], scale[0], scale[1], xp) * (height * width)
    ratios = log_uniform(tries[1], ratio[0], ratio[1], xp)
    widths, heights = _rounded_root(area * ratios, xp), _rounded_root(area / ratios, xp)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)

    is_any = xp.any(fits, axis=1)
    first = xp.argmax(xp.array(fits, "int32"), axis=1)[:, None]

    def chosen(sides: Tensor, otherwise: Tensor) -> Tensor:
        return xp.where(is_any, xp.take_along_axis(sides, first, axis=1)[:, 0], otherwise)

    def side(longest: Tensor, of_the_other: Tensor) -> Tensor:
        # At least one pixel; torchvision would cut out none and fail.
        return xp.maximum(xp.minimum(longest, xp.round(of_the_other)), 1.0)

    box_height = chosen(heights, side(height, width / ratio[0]))
    box_width = chosen(widths, side(width, height * ratio[1]))
    # A number below 1, times n, is below n when rounded: places go from 0 to what remains.
    top = xp.where(is_any, numbers[:, -2] * (height - box_height + 1), (height - box_height) / 2)
    left = xp.where(is_any, numbers[:, -1] * (width - box_width + 1), (width - box_width) / 2)
    return xp.array(xp.floor(xp.stack([top, left, box_height, box_width], axis=1)), "int32")


def _rounded_root(x: Tensor, xp: Any) -> Tensor:
    """Rounds the square root exactly, whatever a backend's `sqrt` does to its last bit."""
    root = xp.floor(xp.sqrt(x) + 0.5)
    below, above = (root - 0.5) * (root - 0.5), (root + 0.5) * (root + 0.5)
    return root + xp.array(above <= x, "float32") - xp.array(below > x, "float32")
