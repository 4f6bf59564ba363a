"""Images for an encoder: in the size, the channels and the scaling that it was trained on."""

import os
from typing import Any

import keras

from keras_ssl.data import Splits, load
from keras_ssl.encoders.adapt import square_size
from keras_ssl.runs.folder import scaling_of, size_of


def load_for(
    encoder: Any,
    model: keras.Model,
    images: str | os.PathLike[str],
    image_size: int | None = None,
    **options: Any,
) -> Splits:
    """Loads images for an encoder.

    Args:
        encoder: What the encoder was loaded from: what a run says of it is in its folder.
        model: The encoder, loaded.
        images: The images, see `keras_ssl.data.load`.
        image_size: Height and width, in pixels. Default: those of the encoder, else of its run.
        **options: See `keras_ssl.data.load`.

    Raises:
        ValueError: if the images cannot be loaded, or be brought to these channels.
    """
    size = image_size or square_size(model) or size_of(encoder)
    channels = model.input_shape[3]
    return load(images, size, channels, scaling=scaling_of(encoder), **options)
