"""Where a pixel comes from: crops and flips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count, check_range
from keras_ssl.data import draws
from keras_ssl.data.augmentation import one_by_one
from keras_ssl.data.augmentation.base import Augmentation, OneByOne
from keras_ssl.data.augmentation.pixels import functions_for, length, multiply


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomResizedCrop(Augmentation):
    """Cuts a random rectangle out of each image and resizes it.

    The rectangle is drawn as torchvision draws it. Its area, as a fraction of the image's, is
    uniform in `scale`; its aspect ratio is log-uniform in `ratio`; its sides and corners are whole
    pixels. If none of ten tries fits the image, it is the largest central rectangle whose ratio is
    allowed (for a square image, the whole image). Resizing is bilinear and antialiased (published
    codes: bicubic).

    Args:
        size: (height, width) of the result, whole numbers above zero. `None` keeps the size of the
            images.
        scale: Range of the area, in (0, 1]. Default (0.08, 1): SimCLR, BYOL, VICReg.
        ratio: Range of width over height. Default (3/4, 4/3): SimCLR, BYOL, VICReg.
        **kwargs: See `Augmentation`. An image that is not chosen is resized as a whole.

    Example:
        A square of a quarter of the area of 4 x 4 pixels is 2 x 2 pixels, here not resized.

        >>> import numpy as np
        >>> images = np.arange(16).reshape(1, 4, 4, 1) / 16
        >>> crop = RandomResizedCrop((2, 2), scale=(0.25, 0.25), ratio=(1, 1))
        >>> print(16 * np.asarray(crop(images, seed=(0, 2)))[0, :, :, 0])
        [[1. 2.]
         [5. 6.]]
    """

    draw_count = draws.CROP_NUMBERS

    def __init__(
        self,
        size: Sequence[int] | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = None if size is None else _check_size(size)
        self.scale = check_range("scale", scale, upper=1.0)
        self.ratio = check_range("ratio", ratio)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        return {"boxes": draws.crop_boxes(numbers, size, self.scale, self.ratio, xp)}

    def leave(self, images: Tensor) -> Tensor:  # noqa: D102
        if self.size is None or self.size == tuple(images.shape[1:3]):
            return images
        whole = functions_for(images).stack([0, 0, *(length(images, axis) for axis in (1, 2))])
        return resize_boxes(images, whole[None], self.size)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        size = self.size or [length(images, axis) for axis in (1, 2)]
        return resize_boxes(images, drawn["boxes"], size)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        boxes = drawn["boxes"].tolist()
        return lambda i, image: one_by_one.resize_box(image, boxes[i], self.size)

    def leave_each(self) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.resize_box(image, None, self.size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        size = tuple(input_shape[1:3]) if self.size is None else self.size
        return (input_shape[0], *size, input_shape[3])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "size": self.size, "scale": self.scale, "ratio": self.ratio}


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomFlip(Augmentation):
    """Mirrors images left to right.

    Args:
        probability: Fraction of the images that are mirrored. Default 0.5.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> images = np.array([0.0, 0.5, 1.0]).reshape(1, 1, 3, 1)
        >>> print(np.asarray(RandomFlip(probability=1.0)(images)).ravel())
        [1.  0.5 0. ]
    """

    def __init__(self, probability: float = 0.5, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        return functions_for(images).flip(images, axis=2)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.flip(image)


def resize_boxes(images: Tensor, boxes: Tensor, size: Sequence[Any]) -> Tensor:
    """Cuts rectangles out of images and resizes them, as torchvision and Pillow do.

    A pixel is an area. An output pixel is a weighted mean of the input pixels of its rectangle. The
    weights are a triangle that reaches the width of one output pixel to either side, or of one
    input pixel where those are wider (bilinear, antialiased). Each result is A X B^T, and the rows
    of A and B are the weights.

    Args:
        images: float32 (N, height, width, channels).
        boxes: (top, left, height, width) in pixels, int32 (N, 4), or (1, 4) for all images.
        size: (height, width) of the result.

    Returns:
        float32 (N, *size, channels).
    """
    xp = functions_for(images)
    boxes = xp.cast(boxes, "float32")[:, None, None]
    top, left, height, width = (boxes[..., i] for i in range(4))
    rows = one_by_one.triangles(top, height, length(images, 1), size[0], xp)
    columns = one_by_one.triangles(left, width, length(images, 2), size[1], xp)
    return multiply(rows, images, columns)


def _check_size(size: Any) -> tuple[int, int]:
    """Returns (height, width) as ints, or raises unless they are two whole numbers above zero."""
    if isinstance(size, (str, bytes)) or not hasattr(size, "__len__") or len(size) != 2:
        raise ValueError(
            f"`size` must be two whole numbers (height, width), or None. Received: size={size!r}"
        )
    height, width = (check_count("size", side) for side in size)
    return height, width
