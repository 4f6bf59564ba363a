"""Search spaces: functions of `hp` and a recipe that return the recipe of a trial.

A space takes keras-tuner's `hp` and the recipe with the settings that are not searched. `combine`
puts spaces together, and `all_settings` is the space of everything by which a method is tuned:

>>> import keras_tuner
>>> from keras_ssl import recipes
>>> space = combine(temperature, learning_rate)
>>> hp = keras_tuner.HyperParameters()
>>> recipe = space(hp, recipes.SMALL["simclr"])  # the defaults, which are the recipe's own
>>> recipe.criterion, recipe.base_learning_rate, list(hp.values)
({'temperature': 0.15}, 0.006, ['temperature', 'base learning rate'])

Each criterion names the settings that are searched in its `search_ranges`. Neither the duality
paper nor the papers before it print the grids that they searched, so the ranges are ours. The
ranges hold every published value. The range of the learning rate is centered on the recipe's rate,
because LARS and AdamW need rates of different sizes.

References:
    - Garrido et al., ICLR 2023: section 5, and Table S6 for the weights and temperatures.
    - Chen et al. (SimCLR), ICML 2020, appendix B.9: temperatures 0.1, 0.5 and 1.0.
    - Bardes et al. (VICReg), ICLR 2022: weights from 1 to 50.
"""

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from keras_ssl._validation import check_callable, check_choice, check_positive
from keras_ssl.recipes import Recipe

if TYPE_CHECKING:
    import keras_tuner

__all__ = [
    "Space",
    "all_settings",
    "around",
    "augmentation_strength",
    "combine",
    "covariance_weight",
    "criterion_default",
    "criterion_setting",
    "criterion_settings",
    "embedding_dimension",
    "fixed",
    "invariance_weight",
    "learning_rate",
    "log_float",
    "projector_width",
    "search_ranges",
    "teacher_step",
    "temperature",
    "weight_decay",
]

Space = Callable[["keras_tuner.HyperParameters", Recipe], Recipe]
"""A function of keras-tuner's `hp` and a recipe that returns a recipe."""


def combine(*spaces: Space) -> Space:
    """Makes the space of all settings of `spaces`, which are applied in this order.

    Raises:
        TypeError: for a space that is not a function.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> recipe = combine(learning_rate, weight_decay)(hp, recipes.SMALL["vicreg"])
        >>> hp.values
        {'base learning rate': 0.006, 'weight decay': 0.0001}
    """
    for one in spaces:
        check_callable("spaces", one)

    def space(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
        for one in spaces:
            recipe = one(hp, recipe)
        return recipe

    return space


def fixed(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches nothing: every trial is the recipe itself.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp, recipe = keras_tuner.HyperParameters(), recipes.SMALL["vicreg"]
        >>> fixed(hp, recipe) is recipe, hp.space
        (True, [])
    """
    return recipe


def log_float(
    hp: "keras_tuner.HyperParameters", name: str, low: float, high: float, default: float
) -> float:
    """Searches a positive number on a logarithmic scale; the range is widened to hold `default`.

    Raises:
        ValueError: for a `low`, `high` or `default` that is not positive.

    Example:
        >>> import keras_tuner
        >>> hp = keras_tuner.HyperParameters()
        >>> log_float(hp, "temperature", 0.1, 1.0, default=0.05)
        0.05
        >>> hp.space[0].min_value, hp.space[0].max_value
        (0.05, 1.0)
    """
    check_positive(name, default)
    check_positive("low", low)
    check_positive("high", high)
    low, high = min(low, default), max(high, default)
    return hp.Float(name, low, high, sampling="log", default=default)


def around(
    hp: "keras_tuner.HyperParameters", name: str, default: float, factor: float = 10.0
) -> float:
    """Searches a number from `default / factor` to `default * factor` on a logarithmic scale.

    Example:
        >>> import keras_tuner
        >>> hp = keras_tuner.HyperParameters()
        >>> around(hp, "weight", 1.0, factor=4.0)
        1.0
        >>> hp.space[0].min_value, hp.space[0].max_value
        (0.25, 4.0)
    """
    return log_float(hp, name, default / factor, default * factor, default)


def learning_rate(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches the base learning rate, from an eighth to eight times the recipe's.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp, recipe = keras_tuner.HyperParameters(), recipes.SMALL["simclr"]
        >>> learning_rate(hp, recipe).base_learning_rate
        0.006
        >>> print(f"{hp.space[0].min_value:g} to {hp.space[0].max_value:g}")
        0.00075 to 0.048
    """
    rate = around(hp, "base learning rate", recipe.base_learning_rate, 8.0)
    return dataclasses.replace(recipe, base_learning_rate=rate)


def weight_decay(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches the weight decay from 1e-7 to 1e-2; the default is 1e-7 if the recipe has none.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.values["weight decay"] = 1e-3  # What a tuner does.
        >>> weight_decay(hp, recipes.SMALL["simclr"]).weight_decay
        0.001
    """
    decay = log_float(hp, "weight decay", 1e-7, 1e-2, recipe.weight_decay or 1e-7)
    return dataclasses.replace(recipe, weight_decay=decay)


def projector_width(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches the width of hidden layers, from a quarter to four times the recipe's.

    The widths keep the recipe's proportions.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp, recipe = keras_tuner.HyperParameters(), recipes.PUBLISHED["vicreg-d512"]
        >>> hp.values["projector width"] = 4096  # What a tuner does.
        >>> recipe.projector, projector_width(hp, recipe).projector
        ('8192-8192-512', '4096-4096-512')
    """
    *hidden, dimensions = map(int, recipe.projector.split("-"))
    if not hidden:
        return recipe
    width = hp.Choice("projector width", _around_width(hidden[0]), default=hidden[0])
    widths = [max(round(own * width / hidden[0]), 1) for own in hidden]
    return dataclasses.replace(recipe, projector="-".join(map(str, [*widths, dimensions])))


def embedding_dimension(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches the width M of the embeddings, from a quarter to four times the recipe's.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> embedding_dimension(hp, recipes.SMALL["vicreg"]).projector
        '256-256-256'
        >>> hp.space[0].values
        [64, 128, 256, 512, 1024]
    """
    *hidden, last = recipe.projector.split("-")
    dimensions = hp.Choice("embedding dimension", _around_width(int(last)), default=int(last))
    return dataclasses.replace(recipe, projector="-".join([*hidden, str(dimensions)]))


def _around_width(width: int) -> list[int]:
    return sorted({max(width * 2**i // 4, 1) for i in range(5)})


def augmentation_strength(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches the strength of the augmentations, from 0 to 1.8 times the policy's own.

    For a policy of your own that takes no strength, it searches nothing.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.values["augmentation strength"] = 0.5  # What a tuner does.
        >>> augmentation_strength(hp, recipes.SMALL["simclr"]).strength
        0.5
    """
    if not recipe.has_strength:
        return recipe
    highest = max(1.8, recipe.strength)
    strength = hp.Float("augmentation strength", 0.0, highest, default=recipe.strength)
    return dataclasses.replace(recipe, strength=strength)


def criterion_setting(
    argument: str,
    low: float | None = None,
    high: float | None = None,
    log: bool = True,
    label: str | None = None,
) -> Space:
    """Makes a space of one argument of the criterion.

    Args:
        argument: Name of the argument, such as "temperature".
        low: Smallest value. If neither `low` nor `high` is given, the range is that of the
            criterion's `search_ranges`.
        high: Largest value.
        log: Whether the scale is logarithmic.
        label: Name for people. Default: `argument` without underscores.

    Raises:
        ValueError: for an empty range, half a range, or one that is not positive on a logarithmic
            scale. When the space is used: if the criterion has no such argument, if no range is
            given and the criterion has none, or if the default is 0 on a logarithmic scale.
        TypeError: if `argument` is not a string.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> space = criterion_setting("variance_weight", 1.0, 100.0, label="variance")
        >>> hp = keras_tuner.HyperParameters()
        >>> dict(space(hp, recipes.SMALL["vicreg"]).criterion), hp.values
        ({'variance_weight': 25.0}, {'variance': 25.0})
    """
    if not isinstance(argument, str):
        raise TypeError(f"`argument` must be a name. Received: argument={argument!r}")
    if low is not None or high is not None:
        _check_range(low, high, log)

    def space(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
        default = criterion_default(recipe, argument)
        name = label or argument.replace("_", " ")
        if low is None or high is None:
            lowest, highest = _own_range(recipe, argument)
        else:
            lowest, highest = low, high
        if log:
            value = log_float(hp, name, lowest, highest, default)
        else:
            value = hp.Float(name, min(lowest, default), max(highest, default), default=default)
        return dataclasses.replace(recipe, criterion={**recipe.criterion, argument: value})

    return space


def _check_range(low: Any, high: Any, log: bool) -> None:
    if log:
        check_positive("low", low)
    if low is None or high is None or not low < high:
        raise ValueError(f"`high` must be above `low`. Received: low={low!r}, high={high!r}")


def _own_range(recipe: Recipe, argument: str) -> tuple[float, float]:
    ranges = search_ranges(recipe)
    check_choice("argument", argument, ranges)
    low, high = ranges[argument]
    _check_range(low, high, log=True)
    return low, high


def criterion_default(recipe: Recipe, argument: str) -> Any:
    """Returns the value of a criterion's argument: the recipe's, or the criterion's default.

    Example:
        The recipe names only some of the weights; the third is the criterion's default.

        >>> from keras_ssl import recipes
        >>> recipe = recipes.SMALL["vicreg-exp"]
        >>> dict(recipe.criterion), criterion_default(recipe, "covariance_weight")
        ({'invariance_weight': 4.0, 'variance_weight': 4.0}, 2.0)
    """
    arguments = inspect.signature(recipe.make_criterion).parameters
    check_choice("argument", argument, arguments)
    return recipe.criterion.get(argument, arguments[argument].default)


def search_ranges(recipe: Recipe) -> Mapping[str, tuple[float, float]]:
    """Returns the ranges that the recipe's criterion says are worth searching, by argument.

    Example:
        >>> from keras_ssl import recipes
        >>> search_ranges(recipes.SMALL["simclr"])
        {'temperature': (0.02, 1.0)}
    """
    return getattr(recipe.make_criterion, "search_ranges", {})


def criterion_settings(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches all settings in the `search_ranges` of the recipe's criterion, on log scales.

    For a criterion without `search_ranges`, it searches nothing, and warns if the criterion has an
    argument that is a number.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> recipe = criterion_settings(hp, recipes.SMALL["vicreg"])
        >>> hp.values
        {'invariance weight': 25.0, 'covariance weight': 1.0}
    """
    ranges = search_ranges(recipe)
    arguments = inspect.signature(recipe.make_criterion).parameters.values()
    if not ranges and any(isinstance(argument.default, float) for argument in arguments):
        warnings.warn(
            f"{recipe.make_criterion.__name__} has no `search_ranges`: none of its settings are "
            "searched, only general ones such as the learning rate.",
            stacklevel=2,
        )
    for argument in ranges:
        recipe = criterion_setting(argument)(hp, recipe)
    return recipe


def teacher_step(hp: "keras_tuner.HyperParameters", recipe: Recipe) -> Recipe:
    """Searches 1 minus the momentum of a method's teacher, from 0.001 to 0.3 on a log scale.

    Recipes of methods without a teacher, or with a schedule of its momentum, stay as they are.

    Example:
        >>> import keras_tuner
        >>> from keras_ssl import recipes
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.values["teacher step"] = 0.25  # What a tuner does.
        >>> teacher_step(hp, recipes.SMALL["byol"]).arguments
        {'hidden': '1024', 'momentum': 0.75}
    """
    usual = getattr(recipe.model, "default_momentum", None)
    momentum = recipe.arguments.get("momentum", usual)
    if not isinstance(momentum, float) or momentum >= 1:
        return recipe
    step = log_float(hp, "teacher step", 0.001, 0.3, 1 - momentum)
    return dataclasses.replace(recipe, arguments={**recipe.arguments, "momentum": 1 - step})


temperature = criterion_setting("temperature")
"""Searches the temperature of a criterion."""
invariance_weight = criterion_setting("invariance_weight")
"""Searches the weight of VICReg's invariance term."""
covariance_weight = criterion_setting("covariance_weight")
"""Searches the weight of VICReg's covariance term."""

all_settings = combine(
    *(criterion_settings, teacher_step, learning_rate, weight_decay, projector_width),
    augmentation_strength,
)
"""Searches everything by which a method is tuned, also one of your own."""
