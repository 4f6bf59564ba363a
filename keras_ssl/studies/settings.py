"""The hyperparameters of an arm: those that it has, and their values as it declares them."""

from collections.abc import Mapping
from typing import Any

import keras_tuner

from keras_ssl.hypermodels import PretrainingHyperModel


def space_of(hypermodel: PretrainingHyperModel) -> keras_tuner.HyperParameters:
    """The hyperparameters of a hypermodel's space, with their defaults as values."""
    hp = keras_tuner.HyperParameters()
    hypermodel.trial_recipe(hp)
    if not isinstance(hypermodel.encoder, str):
        hypermodel.build_encoder(hp)
    return hp


def declared(space: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a space's hyperparameters; a rounded one becomes the nearest that it lists."""
    parameters = keras_tuner.engine.hyperparameters
    found = {}
    for parameter in space.space:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        is_listed = isinstance(parameter, parameters.Choice) or (
            isinstance(parameter, parameters.Float) and parameter.step is not None
        )
        if isinstance(value, float) and is_listed:
            value = min((abs(own - value), own) for own in parameter.values)[1]
        found[parameter.name] = value
    return found
