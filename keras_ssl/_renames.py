"""A table of every rename that matters to old files and old programs, and the code that reads it.

A file that an earlier version wrote still loads, under the names that it holds;
docs/compatibility.md says what we promise. If you rename something that a file can hold, add a row
here, from the old name to the new one. Names are never reused, so a row stays true.
"""

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import keras

Class = TypeVar("Class", bound=type)


class Argument(NamedTuple):
    """The current name of an argument.

    Attributes:
        name: Its name.
        values: The values that were renamed together with it, from old to new.
    """

    name: str
    values: Mapping[str, str] = {}


# --- The table: names in files -------------------------------------------------------------------

# Classes, by the name under which they are registered with Keras.
CLASSES: dict[str, str] = {
    "keras_ssl>RandomGreyscale": "keras_ssl>RandomGrayscale",
}

_SIDE = Argument("side", {"samples": "gram", "dimensions": "covariance"})

# Arguments of constructors, by the registered name of their class. Subclasses inherit the row.
ARGUMENTS: dict[str, dict[str, Argument]] = {
    "keras_ssl>BarlowTwinsLoss": {"gram": _SIDE},
    "keras_ssl>CodingRateLoss": {"gram": _SIDE},
    "keras_ssl>SpectralContrastiveLoss": {"gram": _SIDE},
    "keras_ssl>VICRegFamilyLoss": {"gram": _SIDE, "matrix": Argument("contrast")},
}

# Policies in `keras_ssl.data.POLICIES`.
POLICIES: dict[str, str] = {"tiny_grey": "tiny_gray"}

# Recipes in `keras_ssl.recipes.SMALL` and `PUBLISHED`.
RECIPES: dict[str, str] = {}

# Figures and pictures among the TensorBoard events of a run, as `keras_ssl.inspection` names them.
EVENTS: dict[str, str] = {
    "probe/accuracy": "training/probe_accuracy",
    "probe/loss": "training/probe_loss",
    "views/image_and_two_views": "views/image_and_views",
}

# Options of a run in its config.json.
OPTIONS: dict[str, str] = {"base_lr": "base_learning_rate", "logdir": "out", "recipe": "method"}

# --- The table: names in programs ----------------------------------------------------------------

# By the module that had the name. A new name with dots begins with its module.
PYTHON: dict[str, dict[str, str]] = {
    "keras_ssl.data": {
        "RandomGreyscale": "RandomGrayscale",
        "tiny_grey": "tiny_gray",
        "two_views": "make_views",
    },
    "keras_ssl.distribution": {
        "ReplicatedModel": "keras_ssl.training.replicated_model.ReplicatedModel",
        "alone": "keras_ssl.replicas.alone",
        "apply_gradients": "keras_ssl.optimizers.apply.apply_gradients",
        "custom_gradient": "keras_ssl.replicas.custom_gradient",
        "describe": "keras_ssl.training.strategies.describe",
        "draw_apart": "keras_ssl.training.random_layers.draw_apart",
        "first_row": "keras_ssl.replicas.first_row",
        "forgotten_gradients": "keras_ssl._keras.forgotten_gradients",
        "gather_batch": "keras_ssl.replicas.gather_batch",
        "has_accelerator": "keras_ssl._backend.has_accelerator",
        "has_even_shards": "keras_ssl.replicas.has_even_shards",
        "is_on_one_machine": "keras_ssl.training.strategies.is_on_one_machine",
        "own_rows": "keras_ssl.replicas.own_rows",
        "readable_errors": "keras_ssl._require.readable_errors",
        "replica_count": "keras_ssl.replicas.replica_count",
        "replica_id": "keras_ssl.replicas.replica_id",
        "require": "keras_ssl._require.require",
        "seed_generators": "keras_ssl.training.random_layers.seed_generators",
        "share": "keras_ssl.replicas.share",
        "sum_over_replicas": "keras_ssl.replicas.sum_over_replicas",
        "synchronize": "keras_ssl.training.batch_norm.synchronize",
    },
    "keras_ssl.hypermodels": {
        "HeldOut": "keras_ssl.data.HeldOut",
        "hold_out": "keras_ssl.data.hold_out",
        **{
            name: f"keras_ssl.spaces.{name}"
            for name in (
                *("Space", "around", "augmentation_strength", "combine", "covariance_weight"),
                *("criterion_default", "criterion_setting", "embedding_dimension", "fixed"),
                *("invariance_weight", "learning_rate", "log_float", "projector_width"),
                *("temperature", "weight_decay"),
            )
        },
    },
}

# --- Reading the table ---------------------------------------------------------------------------


def renamed(value: Any, table: Mapping[str, str]) -> Any:
    """Returns the current name for an old one; any other value comes back unchanged."""
    return table.get(value, value) if isinstance(value, str) else value


def arguments(cls: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all or some arguments of a constructor under their current names.

    A subclass of a class in the table inherits its renames, unless the subclass has an argument of
    its own with the old name.

    Args:
        cls: The class that they are for. It may be a function, whose arguments were never renamed.
        config: The arguments by name, as a file holds them.
    """
    config = dict(config)
    for parent in getattr(cls, "__mro__", ()):
        for old, new in ARGUMENTS.get(keras.saving.get_registered_name(parent), {}).items():
            is_old = old in config and new.name not in config
            if is_old and old not in inspect.signature(cls.__init__).parameters:
                config[new.name] = renamed(config.pop(old), new.values)
    return config


def recipe(config: Mapping[str, Any], criterion: Any = None) -> dict[str, Any]:
    """Returns the config of a recipe under the current names.

    Args:
        config: The config, or a part of it.
        criterion: The class of its method's criterion, if known; it tells the names of the
            criterion's arguments.
    """
    config = _renamed_values(config, {"model": _METHODS, "policy": POLICIES})
    if isinstance(config.get("criterion"), Mapping):
        config["criterion"] = arguments(criterion, config["criterion"])
    return config


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a run under the current names."""
    config = {renamed(name, OPTIONS): value for name, value in config.items()}
    return _renamed_values(config, {"policy": POLICIES, "method": RECIPES})


def _renamed_values(
    config: Mapping[str, Any], tables: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    return {name: renamed(value, tables.get(name, {})) for name, value in config.items()}


# Recipes name a method by its class, without a package.
_METHODS = {old.rpartition(">")[2]: new.rpartition(">")[2] for old, new in CLASSES.items()}


def old_names(cls: Class) -> Class:
    """A decorator for a renamed class: it registers the class under its old names, too.

    Put it above `keras.saving.register_keras_serializable`.
    """
    for old, new in CLASSES.items():
        if new == keras.saving.get_registered_name(cls):
            keras.saving.get_custom_objects()[old] = cls
    return cls


def moved(module: str, table: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a module that still knows the old names in `table`.

    It warns with a `DeprecationWarning` that gives both names. The condition below keeps type
    checkers from believing that the module has every name:

        if not TYPE_CHECKING:
            __getattr__ = moved(__name__, PYTHON[__name__])

    Args:
        module: The module's name.
        table: From old names to new ones. A new name with dots begins with its module.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in table:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = table[name] if "." in table[name] else f"{module}.{table[name]}"
        warnings.warn(
            f"`{module}.{name}` is now `{new}`; the old name will be removed.",
            DeprecationWarning,
            stacklevel=2,
        )
        home, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(home), attribute)

    return __getattr__
