"""Encoders in folders that `keras-ssl export` wrote: safetensors is loaded, what is not is said."""

import contextlib
import json
import os
import pathlib
from typing import Any

import keras

# The two files of the format safetensors. The config is Keras' own, of the whole encoder.
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# The file that `export` writes beside each format.
CONTRACT = "contract.json"


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
    if (folder / WEIGHTS).is_file() and "class_name" in _read(folder / CONFIG):
        from keras_ssl.exporting import load_safetensors

        return load_safetensors(folder)
    for folder in (path, path.parent):
        contract = _read(folder / CONTRACT)
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


def _read(file: pathlib.Path) -> dict[str, Any]:
    """The content of a JSON file; nothing if it is not there or holds something else."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
