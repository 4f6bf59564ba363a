"""`Recipe`: all that a pretraining run needs besides images and an encoder."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl import _renames, data, losses, models
from keras_ssl._config import arguments_of, takes_others
from keras_ssl._seeds import same_seeds
from keras_ssl._validation import (
    check_choice,
    check_count,
    check_fraction,
    check_non_negative,
    check_optional_count,
    check_positive,
)
from keras_ssl.data.views import check_policy
from keras_ssl.encoders.resnets import check_image_shape
from keras_ssl.layers.projector import parse_widths
from keras_ssl.optimizers import warmup_cosine
from keras_ssl.recipes.optimizers import OPTIMIZERS, lars
from keras_ssl.registry import look_up, name_of

# By the short names that configs have.
METHODS = {name: getattr(models, name) for name in models.__all__}
_CRITERIA = {
    name: part
    for name in losses.__all__
    if isinstance(part := getattr(losses, name), type) and issubclass(part, losses.Criterion)
}


# Arguments of every method, which a recipe or whoever builds it gives.
_OF_EVERY_METHOD = ("encoder", "projector", "criterion", "probe", "name")


def needed_arguments(method: type[models.JointEmbeddingModel]) -> list[str]:
    """The arguments that a method of its own cannot be made without."""
    parameters = inspect.signature(method.__init__).parameters
    return [
        name
        for name in arguments_of(method.__init__)
        if parameters[name].default is inspect.Parameter.empty and name not in _OF_EVERY_METHOD
    ]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a pretraining run needs besides images and an encoder.

    Your own methods, criteria, optimizers and policies work as ours do. To give them a name in
    files (`get_config`, studies, `--config`), register them with Keras; see `keras_ssl.registry`.

    Raises:
        TypeError: for a model, a criterion, an optimizer or a criterion's settings of another type.
        ValueError: for a number out of its range, a projector that is not a list of widths, or a
            setting that the criterion does not have.

    Attributes:
        model: The method.
        projector: Widths of the projector.
        batch_size: Images per step, over all replicas.
        base_learning_rate: Learning rate at a batch of 256.
        weight_decay: Weight decay of the optimizer.
        epochs: Epochs in all.
        policy: Name of an augmentation policy in `keras_ssl.data.POLICIES`, or the name by which a
            function that returns a policy is registered with Keras. The function is called with
            `strength` if it has this argument, and with `size` if there is a `view_size`.
        source: Where the settings come from.
        criterion: Arguments of the criterion; the others keep their defaults.
        warmup_epochs: Epochs of linear warm-up, at most a tenth of `epochs`.
        final_fraction: Last learning rate, divided by the peak.
        optimizer: A function from a learning rate and a weight decay to an optimizer, or a class
            that is called with (learning rate, weight_decay=...).
        strength: Strength of the augmentations, see `keras_ssl.data.policy`.
        criterion_class: The criterion, if it is not the method's own.
        arguments: Arguments of the method, such as `{"momentum": 0.99}` of BYOL: numbers, words, or
            lists of them. The others keep their defaults.
        view_size: Height and width of the views, in pixels; `None`: the policy's own, which are
            those of the images for ours. The fewer pixels, the less time: views of three quarters
            of the size have 9/16 of them. The encoder must take views of this size.

    Example:
        `dataclasses.replace` changes a recipe. The warm-up takes a tenth of the 20 epochs, and the
        peak of the learning rate is 0.2 * 512 / 256.

        >>> from keras_ssl import recipes
        >>> published = recipes.PUBLISHED["vicreg-imagenet"]
        >>> recipe = dataclasses.replace(published, batch_size=512, epochs=20)
        >>> optimizer = recipe.build_optimizer(steps_per_epoch=50)
        >>> for step in (50, 100, 1000):
        ...     _ = optimizer.iterations.assign(step)
        ...     print(step, f"{float(optimizer.learning_rate):.4f}")
        50 0.2000
        100 0.4000
        1000 0.0004
    """

    model: type[models.JointEmbeddingModel]
    projector: str
    batch_size: int
    base_learning_rate: float
    weight_decay: float
    epochs: int
    policy: str
    source: str
    criterion: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    warmup_epochs: float = 10
    final_fraction: float = 0.0
    optimizer: Callable[[Any, float], keras.optimizers.Optimizer] = lars
    strength: float = 1.0
    criterion_class: type[losses.Criterion] | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    view_size: int | None = None

    def __post_init__(self) -> None:
        # A wrong recipe raises when it is made, before a run has begun.
        is_model = isinstance(self.model, type)
        if not is_model or not issubclass(self.model, models.JointEmbeddingModel):
            raise TypeError(
                "`model` must be a method, a subclass of keras_ssl.models.JointEmbeddingModel. "
                f"Received: model={self.model!r}"
            )
        if not callable(self.optimizer):
            raise TypeError(
                "`optimizer` must be a function of a learning rate and a weight decay, such as "
                f"keras_ssl.recipes.adamw. Received: optimizer={self.optimizer!r}"
            )
        criterion = self.criterion_class
        is_criterion = isinstance(criterion, type) and issubclass(criterion, losses.Criterion)
        if criterion is not None and not is_criterion:
            raise TypeError(
                "`criterion_class` must be a subclass of keras_ssl.losses.Criterion, or None for "
                f"the method's own. Received: criterion_class={criterion!r}"
            )
        if not isinstance(self.criterion, Mapping):
            raise TypeError(
                "`criterion` must be a dictionary of settings. Received: "
                f"criterion={self.criterion!r}"
            )
        object.__setattr__(self, "policy", _renames.renamed(self.policy, _renames.POLICIES))
        self._check_settings()
        self._check_arguments()
        check_count("batch_size", self.batch_size)
        check_optional_count("view_size", self.view_size)
        check_count("epochs", self.epochs)
        check_positive("base_learning_rate", self.base_learning_rate)
        for name in ("weight_decay", "warmup_epochs", "strength"):
            check_non_negative(name, getattr(self, name))
        check_fraction("final_fraction", self.final_fraction)
        parse_widths(self.projector)

    def _check_settings(self) -> None:
        """Raises a `ValueError` for a setting that the criterion does not have."""
        make = self.criterion_class or self.model.default_criterion
        if make is None:
            return  # `make_criterion` says so when it is needed.
        if takes_others(make):
            return
        known = inspect.signature(make).parameters
        wrong = [name for name in self.criterion if name not in known]
        if wrong:
            raise ValueError(
                f"`criterion` must be settings of {getattr(make, '__name__', make)}, which are "
                f"{list(known)}. Received: {', '.join(map(repr, wrong))}"
            )

    def _check_arguments(self) -> None:
        """Raises for an argument that the method does not have, or that JSON cannot hold."""
        if not isinstance(self.arguments, Mapping):
            raise TypeError(
                "`arguments` must be a dictionary of arguments of the method. Received: "
                f"arguments={self.arguments!r}"
            )
        known = {
            name: None  # A dictionary keeps the order.
            for part in self.model.__mro__
            if issubclass(part, models.JointEmbeddingModel)
            for name in arguments_of(part.__init__)
            if name not in _OF_EVERY_METHOD
        }
        needed = [name for name in needed_arguments(self.model) if name not in self.arguments]
        if needed:
            raise ValueError(
                "`model` must need no more than an encoder and `arguments`. Received: "
                f"model={self.model.__name__}, which needs {', '.join(map(repr, needed))}"
            )
        arguments = {}
        for name, value in self.arguments.items():
            if name not in known:
                raise ValueError(
                    f"`arguments` must be arguments of {self.model.__name__}, which are "
                    f"{list(known)}. Received: {name!r}"
                )
            arguments[name] = _json_value(name, value)
        object.__setattr__(self, "arguments", arguments)

    def for_images(self, image_shape: Sequence[int], **changes: Any) -> "Recipe":
        """Returns the recipe with the policy that fits images; one of your own stays as it is.

        Args:
            image_shape: (height, width, channels) of the images to train on.
            **changes: Other changes, as of `dataclasses.replace`.

        Example:
            >>> from keras_ssl import recipes
            >>> recipe = recipes.SMALL["vicreg"].for_images((128, 128, 3), epochs=50)
            >>> recipe.policy, recipe.epochs
            ('byol', 50)
        """
        if self.policy in data.POLICIES:
            changes.setdefault("policy", data.policy_for(image_shape))
        return dataclasses.replace(self, **changes)

    @property
    def make_criterion(self) -> Callable[..., losses.Criterion]:
        """The class that makes the criterion: `criterion_class`, or the method's own."""
        make = self.criterion_class or self.model.default_criterion
        if make is None:
            raise ValueError(
                "`model` must have a criterion of its own, or `criterion_class` must be given. "
                f"Received: model={self.model.__name__}"
            )
        return make

    @property
    def has_strength(self) -> bool:
        """Whether the policy takes a strength; ours do."""
        return "strength" in inspect.signature(self._make_policy).parameters

    @property
    def _make_policy(self) -> Callable[..., data.Views]:
        return look_up("`policy`", self.policy, data.POLICIES)

    def build_policy(self) -> data.Views:
        """Builds the policy, which makes the views of an image.

        Raises:
            TypeError: for a function that makes something else.
            ValueError: for an unknown policy, or for a strength or a size of views if the policy
                takes none.
        """
        make, size = self._make_policy, self.view_size
        arguments: dict[str, Any] = {"strength": self.strength} if self.has_strength else {}
        if self.strength != 1 and not arguments:
            raise ValueError(
                f"`strength` must be 1 for the policy {self.policy!r}, which takes none. Received: "
                f"strength={self.strength}"
            )
        if size is not None:
            if "size" not in inspect.signature(make).parameters:
                raise ValueError(
                    f"`view_size` must be None for the policy {self.policy!r}, which takes no "
                    f"size. Received: view_size={size}"
                )
            arguments["size"] = (size, size)
        return check_policy("policy", make(**arguments))

    def view_shape(self, image_shape: Sequence[int]) -> tuple[Any, ...]:
        """Returns the shape that a model is built for.

        Args:
            image_shape: (height, width, channels) of the images to train on.

        Returns:
            The shape of a view, (None, height, width, channels); or a tuple of shapes, one for each
            view, if they differ. An encoder that takes the images alone does for
            `(None, *image_shape)`, and for nothing else.
        """
        shape = check_image_shape("image_shape", image_shape)
        with same_seeds():
            shapes = self.build_policy().compute_output_shape((None, *shape))
        shapes = tuple(map(tuple, shapes))
        return shapes if len(set(shapes)) > 1 else shapes[0]

    def build_model(
        self, encoder: keras.layers.Layer, probe: Any = None, **kwargs: Any
    ) -> models.JointEmbeddingModel:
        """Builds the model, which is not compiled.

        Args:
            encoder: Any Keras model from images to representations.
            probe: Online probe, or number of classes; see `JointEmbeddingModel`.
            **kwargs: More arguments of the method; these come before `arguments`.
        """
        criterion = self.make_criterion(**self.criterion)
        arguments = {**self.arguments, **kwargs}
        return self.model(encoder, self.projector, criterion=criterion, probe=probe, **arguments)

    def build_optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """Builds the optimizer and its schedule: linear warm-up, cosine, the rule lr * batch / 256.

        Args:
            steps_per_epoch: Steps per epoch.

        Raises:
            TypeError: if `optimizer` does not make an optimizer.
        """
        schedule = warmup_cosine(
            self.base_learning_rate,
            self.batch_size,
            steps_per_epoch,
            self.epochs,
            min(self.warmup_epochs, self.epochs / 10),
            self.final_fraction,
        )
        if isinstance(self.optimizer, type):  # A class may have another second argument.
            made = self.optimizer(schedule, weight_decay=self.weight_decay)
        else:
            made = self.optimizer(schedule, self.weight_decay)
        if not isinstance(made, keras.optimizers.Optimizer):
            raise TypeError(
                "`optimizer` must make a keras.optimizers.Optimizer. Received: "
                f"optimizer={self.optimizer!r}, which made {made!r}"
            )
        return made

    def get_config(self) -> dict[str, Any]:
        """Returns the recipe as JSON can hold it: classes and functions by name.

        Ours have short names; yours have the names by which they are registered with Keras.

        Raises:
            ValueError: for a method, a criterion or an optimizer of your own that is not registered
                with Keras.
        """
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arguments = {name: _plain(value) for name, value in config.pop("arguments").items()}
        view_size = _plain(config.pop("view_size"))
        return {
            **{name: _plain(value) for name, value in config.items()},
            # Only where they are given: recipes of earlier versions have none.
            **({"arguments": arguments} if arguments else {}),
            **({"view_size": view_size} if view_size is not None else {}),
            "criterion": {name: _plain(value) for name, value in self.criterion.items()},
            "model": name_of("`model`", self.model, METHODS),
            "optimizer": name_of("`optimizer`", self.optimizer, OPTIMIZERS),
            "criterion_class": self.criterion_class
            and name_of("`criterion_class`", self.criterion_class, _CRITERIA),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Recipe":
        """Makes the recipe that `get_config` described, in this version or an earlier one.

        It imports nothing that the configuration names.

        Raises:
            ValueError: for a setting that recipes do not have, or a missing setting; for a method,
                a criterion or an optimizer that is neither part of this library nor registered with
                Keras.
        """
        config = _renames.recipe(config)
        fields = dataclasses.fields(cls)
        for name in config:
            check_choice("recipe", name, [field.name for field in fields])
        parts = {
            "model": look_up("`model`", config.get("model"), METHODS),
            "optimizer": look_up("`optimizer`", config.get("optimizer", "lars"), OPTIMIZERS),
        }
        criterion = getattr(parts["model"], "default_criterion", None)
        if config.get("criterion_class") is not None:
            criterion = look_up("`criterion_class`", config["criterion_class"], _CRITERIA)
            parts["criterion_class"] = criterion
        config = _renames.recipe(config, criterion)
        try:
            return cls(**{**config, **parts})
        except TypeError as error:
            raise ValueError(
                f"`config` must have every setting of a recipe. Received: {dict(config)}; {error}"
            ) from error


def _json_value(name: str, value: Any) -> Any:
    """Returns an argument as JSON gives it back, or raises a `ValueError`."""
    try:
        found = json.loads(json.dumps(_plain(value), allow_nan=False))
    except (TypeError, ValueError):
        found = {}
    if isinstance(found, dict):
        raise ValueError(
            f"`arguments` must be numbers, words, or lists of them. Received: {name}={value!r}"
        )
    return found


def _plain(value: Any) -> Any:
    """Converts a NumPy number to Python's."""
    return value.item() if isinstance(value, np.generic) else value
