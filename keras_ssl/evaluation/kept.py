"""Figures that are the same in every run: those of raw pixels, which are computed once and kept."""

import contextlib
import hashlib
import inspect
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from keras_ssl._files import read_json, write_json
from keras_ssl.evaluation import knn, linear_probe, spectrum
from keras_ssl.evaluation.features import Features


def folder() -> pathlib.Path:
    """Returns the folder of figures that are kept: `keras_ssl` in Keras' own folder."""
    # Keras has no public name for it, but says where it is.
    home = os.path.expanduser("~")
    default = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return pathlib.Path(os.environ.get("KERAS_HOME", default)) / "keras_ssl"


def _method() -> str:
    """Returns what else decides how the figures are computed: versions, and our source."""
    import scipy  # scikit-learn and SciPy are needed by judgments alone, and take a second.
    import sklearn

    versions = [package.__version__ for package in (np, scipy, sklearn)]
    return "\n".join([*versions, *map(inspect.getsource, (knn, linear_probe, spectrum))])


def kept(
    name: str, features: Iterable[Features | None], compute: Callable[[], dict[str, float]]
) -> tuple[dict[str, float], bool]:
    """Returns figures of features, from a file if an earlier call computed them.

    The name of the file is a checksum of all features and labels and of how figures are computed,
    so that figures of other images are never taken for these. If the file can be neither read nor
    written, the figures are computed.

    Args:
        name: Name of the encoder.
        features: All that the figures follow from.
        compute: Function that computes them.

    Returns:
        The figures, and whether they come from a file.
    """
    checksum = hashlib.sha256(_method().encode())
    for part in features:
        for array in part or ():
            checksum.update(f"{array.dtype}{array.shape}".encode())
            checksum.update(np.ascontiguousarray(array).data)
    file = folder() / f"{name}-{checksum.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError):
        return read_json(file, "It is computed again."), True
    figures = compute()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, figures)
    return figures, False
