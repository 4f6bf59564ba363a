"""Backbones of KerasHub, with the range of images that their presets tell.

A preset is a folder with a `config.json`, weights, and often an image converter, which says how
images are scaled. KerasHub finds it by its name on Kaggle, by a handle, or on this machine.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl.encoders.exported import json_of

# What a text begins with that names a preset. The first is ours, for KerasHub's own names.
_OWN = "keras_hub:"
HANDLES = (_OWN, "hf://", "kaggle://", "modelscope://")


def is_preset(source: str) -> bool:
    """Whether a text names a preset of KerasHub, or a folder that holds one."""
    if source.startswith(HANDLES):
        return True
    return "registered_name" in json_of(pathlib.Path(source) / "config.json")


def load_backbone(
    preset: str, image_shape: Sequence[int | None] | None = None
) -> tuple[keras.Model, Any]:
    """Loads a backbone with the weights of a preset. It downloads a preset that is not a folder.

    Args:
        preset: "keras_hub:" and a name that KerasHub knows, a handle, or a folder.
        image_shape: (height, width, channels) of the images. Default: the preset's own. Backbones
            whose positions are fixed, such as ViT's, take no other.

    Returns:
        The backbone, and the range of images that its converter says, or `None` if the preset has
        no converter: see `keras_ssl.encoders.as_encoder`.

    Raises:
        ValueError: if KerasHub is not installed, or the preset cannot be loaded.
    """
    try:
        import keras_hub
    except ImportError:
        raise ValueError(
            "A preset of KerasHub needs the package keras-hub: pip install keras-hub. "
            f"Received: encoder={preset!r}"
        ) from None
    name = preset.removeprefix(_OWN)
    shape = {} if image_shape is None else {"image_shape": tuple(image_shape)}
    try:
        backbone = keras_hub.models.Backbone.from_preset(name, **shape)
    except Exception as error:  # noqa: BLE001 (of Kaggle, Hugging Face, HTTP, HDF5, Keras)
        wanted = "" if image_shape is None else f" for images of shape {tuple(image_shape)}"
        raise ValueError(
            f"`encoder` must be a preset that KerasHub can load{wanted}. "
            f"Received: {preset!r}: {_first_line(error)}"
        ) from error
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(name)
    except Exception:  # noqa: BLE001 (A preset need not have one.)
        return backbone, None
    # Of checkpoints of other libraries, KerasHub may have no converter.
    return backbone, None if converter is None else converter_range(converter)


def converter_range(converter: Any) -> Any:
    """Returns the range to which an image converter brings bytes, as `as_encoder` takes it."""
    scale = 1.0 if converter.scale is None else np.asarray(converter.scale, "float64")
    offset = 0.0 if converter.offset is None else np.asarray(converter.offset, "float64")
    low, high = np.broadcast_arrays(offset, 255 * scale + offset)
    return low.tolist(), high.tolist()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
