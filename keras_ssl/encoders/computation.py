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
        # Those without weights make the difference: ranges, poolings, activations. A model's layers
        # speak for it, and the code of a Lambda depends on Python's version.
        if not layer.weights and not isinstance(layer, (keras.Model, keras.layers.Lambda)):
            with contextlib.suppress(NotImplementedError):
                config = without_names(layer.get_config())
                found.append({key: value for key, value in config.items() if value is not None})
        texts.append(json.dumps(found, sort_keys=True, default=lambda x: type(x).__name__))
    # A file need not hold the layers in the order in which they were made.
    return f"{zlib.crc32(json.dumps(sorted(texts)).encode()):08x}"
