"""What makes two studies the same, in JSON's types, and how two that are not differ."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import keras_tuner

from keras_ssl.hypermodels import PretrainingHyperModel


def describe(hypermodel: PretrainingHyperModel, space: keras_tuner.HyperParameters) -> Any:
    """An arm in JSON's types; functions are told apart by their names alone.

    Args:
        hypermodel: The arm.
        space: Its hyperparameters, see `keras_ssl.studies.settings.space_of`.
    """
    recipe = hypermodel.recipe.get_config()
    del recipe["source"]  # It is a text for people.
    precision = hypermodel.dtype_policy.name
    return {
        # Earlier versions knew no other precision.
        **({} if precision == "float32" else {"precision": precision}),
        "recipe": recipe,
        "space": [
            {"kind": type(parameter).__name__, **parameter.get_config()}
            for parameter in space.space
        ],
        "encoder": name_of(hypermodel.encoder),
        "measure": name_of(hypermodel.measure),
        "label_free": hypermodel.label_free,
        "micro_batch_size": hypermodel.micro_batch_size,
        "seed": hypermodel.seed,
    }


def name_of(function: Any) -> Any:
    """The name of a function, with a `functools.partial`'s arguments; a text or `None` as it is."""
    if function is None or isinstance(function, str):
        return function
    if isinstance(function, functools.partial):
        return [name_of(function.func), list(function.args), function.keywords]
    return getattr(function, "__qualname__", type(function).__qualname__)


def differences(found: Any, mine: Any, where: str = "") -> Iterator[str]:
    """Writes a line for each place where two descriptions differ."""
    if isinstance(found, dict) and isinstance(mine, dict):
        for key in {**found, **mine}:
            path = f"{where}.{key}" if where else key
            yield from differences(found.get(key), mine.get(key), path)
    elif found != mine:
        yield f"{where}: {_short(found)} there, {_short(mine)} asked for"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
