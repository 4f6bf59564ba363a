"""Arrays of images, checked and made into an `ImageSet`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_ssl._tensors import Tensor
from keras_ssl.data.image_set import ImageSet, InMemory, Places, Splits

# Labels below this are accepted even if there are fewer images than classes.
_FEW_CLASSES = 1000


def from_arrays(
    images: Tensor,
    labels: Tensor = None,
    class_names: Sequence[str] | None = None,
    skipped: Sequence[str] = (),
) -> ImageSet:
    """Makes an image set of images in memory.

    Bytes and float32 are not copied: do not change them while the image set is in use. An array
    may be larger than memory, such as `numpy.load(path, mmap_mode="r")`.

    Args:
        images: Integers in [0, 255], floats in [0, 1] or booleans, (N, height, width, channels), or
            (N, height, width) if there is one channel.
        labels: Whole numbers from 0, (N,) or (N, 1), or `None`.
        class_names: Names of the classes. Default: their numbers.
        skipped: Names of files that could not be read.

    Returns:
        `ImageSet` of uint8 images if `images` are integers or booleans, else of float32 images.

    Raises:
        TypeError: if `images` are not numbers.
        ValueError: if `images` have another rank, are empty, have their channels first, or are
            floats outside [0, 1], integers outside [0, 255] or only integers 0 and 1; if `labels`
            or `class_names` do not match them.

    Example:
        >>> import numpy as np
        >>> images = from_arrays(np.full((3, 8, 8), 255), labels=[0, 2, 1])
        >>> len(images), images.image_shape, images.dtype, images.class_names
        (3, (8, 8, 1), dtype('uint8'), ('0', '1', '2'))
        >>> from_arrays(np.full((3, 8, 8), 255.0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `images` must be integers in [0, 255] or floats in [0, 1]. Received: float64 ...
    """
    images = _check_images(images)
    if labels is None:
        if class_names is not None:
            raise ValueError(
                "`class_names` must come with `labels`. Received: class_names without labels"
            )
        numbers = np.full(len(images), -1)
    else:
        numbers = check_labels(labels, len(images), class_names is not None)
        class_names = _check_class_names(class_names, int(numbers.max()))
    return ImageSet(
        keys=Places(np.arange(len(images)), numbers.astype(np.int64)),
        fetch=InMemory(images),
        size=len(images),
        image_shape=images.shape[1:],
        class_names=None if class_names is None else tuple(class_names),
        skipped=tuple(skipped),
    )


def _check_images(images: Tensor) -> np.ndarray:
    """Images (N, height, width, channels) as uint8 or float32, or raises."""
    try:
        images = np.asarray(images)
    except ValueError as error:  # The images are of several sizes.
        raise ValueError(f"`images` must be one array. Received: {error}") from error
    if images.ndim == 3 and images.shape[-1] > 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        hint = "; one image is images[None]" if images.ndim == 3 and images.size else ""
        raise ValueError(
            "`images` must be (N, height, width, channels) or (N, height, width), N at least 1. "
            f"Received: shape={images.shape}{hint}"
        )
    if images.shape[1] <= 4 < min(images.shape[2:]):
        raise ValueError(
            "`images` must have their channels last: np.moveaxis(images, 1, -1). "
            f"Received: shape={images.shape}"
        )
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    is_integer = np.issubdtype(images.dtype, np.integer)
    if not is_integer and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            "`images` must be integers in [0, 255] or floats in [0, 1]. "
            f"Received: dtype={images.dtype}"
        )
    low, high, top = images.min(), images.max(), 255 if is_integer else 1
    if not (low >= 0 and high <= top):  # Written so that NaN fails too.
        raise ValueError(
            "`images` must be integers in [0, 255] or floats in [0, 1]. "
            f"Received: {images.dtype} in [{low}, {high}]"
        )
    if is_integer and high == 1:
        raise ValueError(
            "`images` must be bytes from 0 to 255 if they are integers: as bytes, 1 is black. For "
            f"masks, pass images.astype(bool). Received: {images.dtype} in [{low}, {high}]"
        )
    return images.astype(np.uint8 if is_integer else np.float32, copy=False)


def check_labels(labels: Tensor, count: int, has_names: bool = False) -> np.ndarray:
    """Labels as int64 (count,), or raises. Without names, they must number the classes."""
    numbers = np.asarray(labels)
    if numbers.ndim == 2 and numbers.shape[1] > 1:
        raise ValueError(
            "`labels` must be one whole number per image; of one-hot rows, pass "
            "labels.argmax(axis=1). "
            f"Received: shape={numbers.shape}"
        )
    if numbers.shape not in ((count,), (count, 1)) or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            "`labels` must be one whole number per image; np.unique(labels, return_inverse=True) "
            "makes numbers of names. "
            f"Received: {numbers.dtype} of shape {numbers.shape} for {count} images"
        )
    numbers = numbers.reshape(-1).astype(np.int64)
    if numbers.min() < 0:
        raise ValueError(
            "`labels` must be at least 0; make a set of its own of the images without a label. "
            f"Received: {numbers.min()}"
        )
    if not has_names and numbers.max() >= max(_FEW_CLASSES, 2 * count):
        raise ValueError(
            "`labels` must number the classes from 0: np.unique(labels, return_inverse=True) does. "
            f"Received: labels up to {numbers.max()} for {count} images"
        )
    return numbers


def _check_class_names(class_names: Sequence[str] | None, last: int) -> list[str]:
    """A name for every label up to `last`, all different, or raises."""
    if class_names is None:
        return [str(i) for i in range(last + 1)]
    names = [class_names] if isinstance(class_names, str) else [str(n) for n in class_names]
    if len(names) <= last or len(set(names)) < len(names):
        raise ValueError(
            f"`class_names` must be {last + 1} different names, for labels from 0 to {last}. "
            f"Received: {names}"
        )
    return names


def of_the_same_classes(train: ImageSet, test: ImageSet) -> Splits:
    """Splits with the same classes in both parts: in one, the last ones may have no image."""
    if train.class_names is None or test.class_names is None:
        return Splits(train, test)
    names = max(train.class_names, test.class_names, key=len)
    return Splits(*(dataclasses.replace(part, class_names=names) for part in (train, test)))
