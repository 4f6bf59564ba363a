"""A short text that tells whether images are the same as before."""

import zlib

import numpy as np

from keras_ssl.data.image_set import ImageSet
from keras_ssl.data.views import check_image_set

# How many images are looked at, evenly spaced over all.
_LOOKED_AT = 64


def fingerprint(images: ImageSet | None) -> str:
    """Returns the number and shape of images, and a checksum of 64 of them and their labels.

    Groups of images, if there are any, are part of the checksum.

    Args:
        images: The images, or `None`.

    Returns:
        A text such as "1437 of 8x8x1, 5c1bf3d6", or "none" without images.
    """
    if images is None:
        return "none"
    check_image_set("images", images)
    pixels, labels = next(iter(images.spread(_LOOKED_AT).batches(_LOOKED_AT)))
    checksum = zlib.crc32(np.asarray(labels).tobytes(), zlib.crc32(np.asarray(pixels).tobytes()))
    if images.groups is not None:
        checksum = zlib.crc32(images.groups.astype("int64").tobytes(), checksum)
    shape = "x".join(str(n) for n in images.image_shape)
    return f"{len(images)} of {shape}, {checksum:08x}"
