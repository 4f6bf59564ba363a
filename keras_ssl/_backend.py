"""The backend of Keras that the library runs on, checked before anything else is imported."""

import os
import sys


def check_backend() -> None:
    """Refuses any backend but TensorFlow.

    Raises:
        ImportError: for another backend of Keras.
    """
    # Asked before Keras is imported, which fails with a riddle where a backend is not installed.
    name = None if "keras" in sys.modules else os.environ.get("KERAS_BACKEND")
    if not name:
        import keras

        name = keras.backend.backend()  # A file may name it too: ~/.keras/keras.json.
    if name != "tensorflow":
        raise ImportError(
            "keras_ssl runs on the TensorFlow backend of Keras alone: set the environment variable "
            'KERAS_BACKEND to "tensorflow" before Python starts, or before Keras is imported. '
            f'Received: Keras backend "{name}"'
        )


def has_accelerator() -> bool:
    """Whether TensorFlow sees any device but CPUs."""
    import tensorflow as tf

    return any("CPU" not in device.device_type for device in tf.config.list_physical_devices())
