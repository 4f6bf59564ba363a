"""The four files of MNIST, and of the sets that copy their format."""

import gzip
import pathlib
import zlib

import numpy as np

from keras_ssl.data.image_set import Splits
from keras_ssl.data.sources.arrays import from_arrays, of_the_same_classes

# The names that MNIST's authors chose; Fashion-MNIST and KMNIST use the same.
_FILES = "{}-{}-idx{}-ubyte.gz"


def is_idx(path: pathlib.Path) -> bool:
    """Whether a folder holds the four files, of which the first is looked for."""
    return (path / _FILES.format("train", "images", 3)).is_file()


def read_idx(path: pathlib.Path) -> Splits:
    """The splits of a folder of IDX files: a header of 4 + 4 bytes per axis, then the pixels."""

    def read(part: str, kind: str, axes: int) -> np.ndarray:
        file = path / _FILES.format(part, kind, axes)
        try:
            with gzip.open(file) as content:
                header = np.frombuffer(content.read(4 + 4 * axes), ">u4")
                return np.frombuffer(content.read(), np.uint8).reshape(header[1:])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(
                f"`source` must hold {file.name}, bytes in the IDX format. Received: {error}"
            ) from error

    train, test = (
        from_arrays(read(part, "images", 3), read(part, "labels", 1)) for part in ("train", "t10k")
    )
    return of_the_same_classes(train, test)
