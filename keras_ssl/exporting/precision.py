"""An encoder that was trained in mixed precision, in float32: what runs on every runtime."""

from typing import Any

import keras

from keras_ssl._keras import all_layers, renew_normalization

_OTHERS = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")


def in_float32(encoder: keras.Model) -> keras.Model:
    """Returns the encoder with all its layers computing in float32, with the same weights.

    Args:
        encoder: An encoder. If no layer has another precision, it is returned as it is.

    Raises:
        ValueError: if the encoder must be rebuilt and Keras cannot rebuild it from its config.

    Example:
        >>> layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")]
        >>> encoder = keras.Sequential(layers)
        >>> in_float32(encoder).layers[0].compute_dtype, encoder.layers[0].compute_dtype
        ('float32', 'bfloat16')
    """
    if not any(layer.dtype_policy.name in _OTHERS for layer in all_layers(encoder)):
        return encoder
    try:
        config = keras.saving.serialize_keras_object(encoder)
        rebuilt = keras.saving.deserialize_keras_object(_replaced(config))
    except Exception as error:
        raise ValueError(
            "`encoder` must be one that Keras can rebuild from its config, to be exported in "
            f"float32. Received: encoder={encoder.name!r}, of which Keras says: {error}"
        ) from error
    rebuilt.set_weights(encoder.get_weights())
    renew_normalization(rebuilt)
    return rebuilt


def _replaced(config: Any) -> Any:
    """Returns a config with every other precision replaced by float32."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _precision(value) in _OTHERS else _replaced(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_replaced(value) for value in config)
    return config


def _precision(value: Any) -> Any:
    """The name of a policy, which configs hold as a name or as a serialized policy."""
    return value.get("config", {}).get("name") if isinstance(value, dict) else value
