"""A short text that tells whether images are the same as before."""

import zlib

import numpy as np

from keras_ssl.data.image_set import ImageSet, check_image_set, spread_places

# How many images are looked at, evenly spaced over all.
_LOOKED_AT = 64


def fingerprint(images: ImageSet | None) -> str:
    """Returns the number and shape of images, and a checksum of 64 of them and their labels.

    Groups of images, if there are any, are part of the checksum.

    Args:
        images: The images, or `None`.

    Returns:
        A text such as "1437 of 8x8x1, 5c1bf3d6", or "none" without images.

    Example:
        One changed pixel changes the checksum.

        >>> import numpy as np
        >>> from keras_ssl.data import from_arrays
        >>> pixels = np.zeros((2, 4, 4, 1))
        >>> fingerprint(from_arrays(pixels))
        '2 of 4x4x1, a30288d3'
        >>> pixels[0, 0, 0] = 1
        >>> fingerprint(from_arrays(pixels))
        '2 of 4x4x1, 1bdb7d98'
    """
    if images is None:
        return "none"
    check_image_set("images", images)
    pixels, labels = next(iter(_some(images).batches(_LOOKED_AT)))
    checksum = zlib.crc32(np.asarray(labels).tobytes(), zlib.crc32(np.asarray(pixels).tobytes()))
    if images.groups is not None:
        checksum = zlib.crc32(images.groups.astype("int64").tobytes(), checksum)
    shape = "x".join(str(n) for n in images.image_shape)
    return f"{len(images)} of {shape}, {checksum:08x}"


def _some(images: ImageSet) -> ImageSet:
    """The images that are looked at. This must not change: files hold the checksum of these."""
    if images.groups is None or len(images) <= _LOOKED_AT:
        return images.spread(_LOOKED_AT)
    whole = _LOOKED_AT // int(np.bincount(images.groups).max())
    if not whole:
        return images.subset(spread_places(len(images), _LOOKED_AT))
    return images.subset(images.places(np.arange(whole) * images.example_count // whole))
