"""Loads an encoder that somebody trained: from a run, or from a file."""

import os
import pathlib
from typing import Any

import keras

from keras_ssl.encoders.adapt import as_encoder


def load_encoder(source: Any, input_range: Any = None) -> keras.Model:
    """Loads an encoder: from images in [0, 1] to one representation each.

    Args:
        source: The folder of a run, which holds encoder.keras; a `.keras` file of an encoder or of
            a whole method; or a Keras model.
        input_range: See `as_encoder`.

    Raises:
        ValueError: if there is no encoder at `source`, or it cannot be read.
    """
    if isinstance(source, keras.layers.Layer):
        return as_encoder(getattr(source, "encoder", source), input_range)
    path = pathlib.Path(os.fspath(source))
    file = path / "encoder.keras" if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        raise ValueError(
            "`encoder` must be the folder of a run with its encoder.keras, or a .keras file. "
            f"Received: {str(source)!r}"
        )
    model = keras.models.load_model(file, compile=False)
    return as_encoder(getattr(model, "encoder", model), input_range)
