"""What tells two encoders of equal weights apart: range, pooling, precision and the like."""

import contextlib
import json
import zlib

import keras

from keras_ssl._config import without_names
from keras_ssl._keras import all_layers


def fingerprint_computation(encoder: keras.layers.Layer) -> str:
    """Returns a checksum of what an encoder's layers do, whatever their names and weights are.

    Args:
        encoder: A model or a layer. Of a layer that has no config, its class counts.
    """
    texts = []
    for layer in all_layers(encoder):
        found = [type(layer).__name__, layer.compute_dtype]
        if not isinstance(layer, keras.Model):  # A model's layers speak for it.
            with contextlib.suppress(NotImplementedError):
                found.append(without_names(layer.get_config()))
        texts.append(json.dumps(found, sort_keys=True, default=lambda x: type(x).__name__))
    # A file need not hold the layers in the order in which they were made.
    return f"{zlib.crc32(json.dumps(sorted(texts)).encode()):08x}"
