"""The config of a class whose author overrides the constructor, and nothing else."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

# Keys of configs of layers. A class is known by its name, and may move to another module.
_SAYS_NOTHING = ("name", "seed", "module", "trainable", "shared_object_id")


def arguments_of(constructor: Callable[..., Any]) -> list[str]:
    """Returns the names of the arguments of an `__init__`, except `*args` and `**kwargs`."""
    return [
        name
        for name, argument in inspect.signature(constructor).parameters.items()
        if name != "self" and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]


class NamesGiven:
    """Remembers which arguments its constructor was given by name.

    Some may be those of a parent's constructor. It is a class of its own: `inspect` would show the
    `__new__` of a criterion rather than its `__init__`.
    """

    _given: tuple[str, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        made = super().__new__(cls)
        made._given = tuple(kwargs)
        return made


def takes_others(constructor: Callable[..., Any]) -> bool:
    """Whether an `__init__` has `**kwargs`."""
    parameters = inspect.signature(constructor).parameters.values()
    return any(argument.kind == argument.VAR_KEYWORD for argument in parameters)


def with_own_arguments(thing: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config with the arguments that only the constructor of a subclass knows.

    Each comes from the attribute of the same name. Otherwise a class that overrides `__init__`
    without `get_config` would be saved without its arguments, and loaded with their defaults.
    Nothing is added if `get_config` is overridden in the same class or in one that inherits it.

    Raises:
        TypeError: if there is no attribute with the name of an argument.
    """
    for cls in type(thing).__mro__:
        if "get_config" in vars(cls):
            break
        if "__init__" not in vars(cls):
            continue
        for name in arguments_of(vars(cls)["__init__"]):
            if name in config:
                continue
            if not hasattr(thing, name):
                raise TypeError(
                    f"`{cls.__name__}` must store its argument `{name}` as an attribute of the "
                    f"same name, or override `get_config`. Received: no attribute {name!r}"
                )
            value = getattr(thing, name)
            is_part = hasattr(value, "get_config")
            serialize = keras.saving.serialize_keras_object
            config = {**config, name: serialize(value) if is_part else value}
    return config


def without_names(value: Any) -> Any:
    """Returns a config without what changes nothing: names, seeds, modules, what is trainable."""
    if isinstance(value, dict):
        return {key: without_names(v) for key, v in value.items() if key not in _SAYS_NOTHING}
    return [without_names(v) for v in value] if isinstance(value, (list, tuple)) else value
