"""Encoders in folders that `keras-ssl export` wrote: loads those that hold safetensors."""

import collections
import contextlib
import json
import os
import pathlib
from typing import Any

import keras

from keras_ssl._files import damaged, read_json
from keras_ssl._keras import renew_normalization

# The two files of the format safetensors. The config is Keras' own, of the whole encoder.
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# The file that `export` writes beside each format.
CONTRACT = "contract.json"
# In the metadata of safetensors: the names of the weights, in the encoder's order.
ORDER = "weights_in_order"


def load_exported(source: str | os.PathLike[str]) -> keras.Model | None:
    """Loads an encoder from a folder that `export` wrote, or from the exported file in it.

    Args:
        source: A path.

    Returns:
        The encoder, or `None` if `export` did not write this.

    Raises:
        ValueError: if the format is one that Keras cannot load, the package safetensors is missing,
            or the files are damaged.
    """
    path = pathlib.Path(source)
    folder = path.parent if path.name == WEIGHTS else path
    if (folder / WEIGHTS).is_file() and "class_name" in json_of(folder / CONFIG):
        return load_safetensors(folder)
    for folder in (path, path.parent):
        contract = json_of(folder / CONTRACT)
        file = contract.get("file")
        if "format" not in contract or not (folder == path or path.name == file):
            continue
        if file == "preset":
            if folder != path:
                continue  # This is the preset itself.
            raise ValueError(
                f"`encoder` must be the preset inside an exported folder, {folder / file}. It "
                "needs an `input_range`; its contract.json says the range that it wants. "
                f"Received: {os.fspath(source)!r}"
            )
        raise ValueError(
            "`encoder` must be one that Keras can load: load the run or the .keras file that this "
            "was exported from, or export that as safetensors. "
            f"Received: {os.fspath(source)!r}, a {contract['format']}"
        )
    return None


def load_safetensors(folder: str | os.PathLike[str]) -> keras.Model:
    """Loads an encoder that was exported as safetensors.

    Args:
        folder: The folder, with model.safetensors and config.json.

    Raises:
        ValueError: if a file is missing or damaged, the weights are not those of the config, or the
            package safetensors is missing.

    Example:
        The package safetensors must be installed.

        >>> import numpy as np
        >>> from keras_ssl import exporting
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> images = np.zeros((2, 8, 8, 1))
        >>> _ = exporting.write_folder(  # doctest: +SKIP
        ...     encoder, "encoder", "safetensors", images, "black images"
        ... )
        >>> load_safetensors("encoder").output_shape  # doctest: +SKIP
        (None, 64)
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ValueError(
            "An encoder that was exported as safetensors needs its package: pip install "
            f"safetensors. Received: folder={os.fspath(folder)!r}"
        ) from None

    path = pathlib.Path(os.fspath(folder))
    config = read_json(path / CONFIG, "Export the encoder again.")
    try:
        encoder = keras.models.model_from_json(json.dumps(config))
    except Exception as error:  # Keras and other people's classes raise any.
        why = f"no encoder that Keras can build: {error}"
        raise damaged(path / CONFIG, "Export the encoder again.", why) from error
    file = path / WEIGHTS
    if not file.is_file():
        raise ValueError(f"`folder` must hold {WEIGHTS}. Received: folder={str(folder)!r}")
    try:
        with safe_open(file, "np") as opened:
            # An earlier version wrote no order: its names are those of the rebuilt encoder.
            order = (opened.metadata() or {}).get(ORDER)
            names = weight_names(encoder) if order is None else json.loads(order)
            weights = [opened.get_tensor(name) for name in names]
            is_whole = len(names) == len(opened.keys())
    except (SafetensorError, ValueError) as error:
        raise damaged(file, "Export the encoder again.", str(error)) from error
    if not is_whole or [w.shape for w in weights] != [tuple(v.shape) for v in encoder.weights]:
        raise damaged(file, "Export the encoder again.", f"weights that {CONFIG} does not name")
    for variable, weight in zip(encoder.weights, weights, strict=True):
        variable.assign(weight)
    renew_normalization(encoder)
    return encoder


def weight_names(encoder: keras.Model) -> list[str]:
    """The paths of an encoder's weights; those that occur again get a number."""
    seen: collections.Counter[str] = collections.Counter()
    names = []
    for weight in encoder.weights:
        seen[weight.path] += 1
        count = seen[weight.path]
        names.append(weight.path if count == 1 else f"{weight.path}_{count}")
    return names


def json_of(file: pathlib.Path) -> dict[str, Any]:
    """The content of a JSON file; nothing if it is not there or holds something else."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
