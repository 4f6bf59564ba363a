"""Self-supervised learning for Keras 3: two families of methods, two sides of one coin."""

__version__ = "0.1.0"

from keras_ssl._backend import check_backend

check_backend()

from keras_ssl import (  # noqa: E402 (after the check)
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
    spaces,
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
    "spaces",
    "studies",
]
