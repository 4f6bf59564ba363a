"""Self-supervised learning for Keras 3: two families of methods, two sides of one coin."""

__version__ = "0.1.0"

import keras

if keras.backend.backend() != "tensorflow":
    # On torch some criteria would give another loss, and say nothing.
    raise ImportError(
        "keras_ssl runs on Keras' TensorFlow backend alone, for now: set KERAS_BACKEND=tensorflow "
        "before Keras is imported, or the backend in ~/.keras/keras.json. Received: the backend "
        f"{keras.backend.backend()!r}"
    )

from keras_ssl import (
    callbacks,
    data,
    distribution,
    duality,
    encoders,
    evaluation,
    hypermodels,
    layers,
    losses,
    models,
    optimizers,
    recipes,
    studies,
)

__all__ = [
    "callbacks",
    "data",
    "distribution",
    "duality",
    "encoders",
    "evaluation",
    "hypermodels",
    "layers",
    "losses",
    "models",
    "optimizers",
    "recipes",
    "studies",
]
