"""Archives of `numpy.savez`."""

import pathlib
import zipfile
import zlib

import numpy as np

from keras_ssl.data.image_set import Splits
from keras_ssl.data.sources.arrays import from_arrays, of_the_same_classes


def read_npz(path: pathlib.Path) -> Splits:
    """The splits of an archive: `x_train`, `y_train`, `x_test`, `y_test`, or `images`, `labels`."""
    if not path.is_file():
        raise ValueError(f"`source` must exist. Received: source={str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"`source` must be an archive of numpy.savez. Received: {str(path)!r}, which is not one"
        )
    try:
        with np.load(path) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            "`source` must hold arrays of numbers that can be read. "
            f"Received: {str(path)!r}; {type(error).__name__}: {error}"
        ) from error
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError(
            "`source` must hold both x_test and y_test, or neither: images without labels cannot "
            f"be used for judging. Received: {path} with {sorted(arrays)}"
        )
    if "x_train" in arrays:
        train = from_arrays(arrays["x_train"], arrays.get("y_train"))
        if "x_test" in arrays:
            test = from_arrays(arrays["x_test"], arrays["y_test"])
            if test.image_shape != train.image_shape:
                raise ValueError(
                    "`source` must hold x_test of the shape of x_train. "
                    f"Received: {path} with images of {train.image_shape} and {test.image_shape}"
                )
            return of_the_same_classes(train, test)
        return Splits(train, None)
    if "images" in arrays:
        return Splits(from_arrays(arrays["images"], arrays.get("labels")), None)
    raise ValueError(
        "`source` must hold x_train (and y_train, x_test, y_test) or images (and labels). "
        f"Received: {path} with {sorted(arrays)}"
    )
