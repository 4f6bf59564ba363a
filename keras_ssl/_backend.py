"""A check of the Keras backend, which runs before anything else is imported."""

import os
import sys


def check_backend() -> None:
    """Checks that Keras runs on TensorFlow.

    Raises:
        ImportError: if Keras has another backend.
    """
    # Keras is imported only if it must be: if its backend is not installed, its error is a riddle.
    name = None if "keras" in sys.modules else os.environ.get("KERAS_BACKEND")
    if not name:
        import keras

        name = keras.backend.backend()  # A file can set it too: ~/.keras/keras.json.
    if name != "tensorflow":
        raise ImportError(
            "keras_ssl runs on the TensorFlow backend of Keras only: set the environment variable "
            'KERAS_BACKEND to "tensorflow" before Python starts, or before Keras is imported. '
            f'Received: Keras backend "{name}"'
        )


def has_accelerator() -> bool:
    """Whether TensorFlow sees any device other than CPUs."""
    import tensorflow as tf

    return any("CPU" not in device.device_type for device in tf.config.list_physical_devices())
