"""Figures that are the same in every run: those of raw pixels, which are computed once and kept."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Iterable

from keras_ssl._files import read_json, write_whole
from keras_ssl.evaluation.features import Features

# What may change how a figure is computed.
_PACKAGES = ("keras_ssl", "numpy", "scikit-learn")


def folder() -> pathlib.Path:
    """Returns the folder of figures that are kept: `keras_ssl` in that of Keras."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras_ssl"


def kept(
    name: str, features: Iterable[Features | None], compute: Callable[[], dict[str, float]]
) -> tuple[dict[str, float], bool]:
    """Returns figures of features, from a file if an earlier process computed them.

    The name of the file is a checksum of all features and labels and of the versions of the
    packages, so that figures of other images are never taken for these. If the file can be neither
    read nor written, the figures are computed.

    Args:
        name: Name of the encoder.
        features: All that the figures follow from.
        compute: Function that computes them.

    Returns:
        The figures, and whether they come from a file.
    """
    checksum = hashlib.sha256(repr([_version(package) for package in _PACKAGES]).encode())
    for part in features:
        for array in part or ():
            checksum.update(f"{array.dtype}{array.shape}".encode())
            checksum.update(array.tobytes())
    file = folder() / f"{name}-{checksum.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError):
        return read_json(file, "It is computed again."), True
    figures = compute()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(figures))
    return figures, False


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:  # used from its source, without an installation
        return package
