"""Whether images are the same as before, by a short text."""

import zlib

from keras_ssl.data.image_set import ImageSet
from keras_ssl.data.views import check_image_set

# Images that are looked at, spread evenly over all.
_LOOKED_AT = 64


def fingerprint(images: ImageSet | None) -> str:
    """Number and shape of the images, and a checksum of 64 of them and their labels.

    Args:
        images: The images, or `None`.

    Returns:
        Such as "1437 of 8x8x1, 5c1bf3d6"; "none" without images.
    """
    if images is None:
        return "none"
    check_image_set("images", images)
    pixels, labels = next(iter(images.spread(_LOOKED_AT).batches(_LOOKED_AT)))
    checksum = zlib.crc32(labels.numpy().tobytes(), zlib.crc32(pixels.numpy().tobytes()))
    shape = "x".join(str(n) for n in images.image_shape)
    return f"{len(images)} of {shape}, {checksum:08x}"
