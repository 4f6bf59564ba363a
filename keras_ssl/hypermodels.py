"""Makes a keras-tuner `HyperModel` of any method.

    images = data.hold_out(data.load("digits"))
    hypermodel = PretrainingHyperModel(recipes.SMALL["simclr"], images)
    tuner = keras_tuner.BayesianOptimization(hypermodel, hypermodel.objective, max_trials=20)
    tuner.search()

`keras_ssl.spaces` has the search spaces.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

try:
    import keras_tuner
except ModuleNotFoundError as error:
    if error.name != "keras_tuner":
        raise  # It is there, and broken.
    raise ModuleNotFoundError(
        "Studies need keras-tuner: pip install keras-tuner", name=error.name
    ) from None

from keras_ssl import _renames, data, encoders, evaluation, models, spaces
from keras_ssl._keras import forgotten_gradients
from keras_ssl._validation import (
    check_callable,
    check_choice,
    check_count,
    check_optional_count,
    check_seed,
)
from keras_ssl.callbacks import StopOnNonFinite
from keras_ssl.evaluation.figures import ACCURACIES
from keras_ssl.evaluation.judgment import check_classes
from keras_ssl.recipes import Recipe

__all__ = ["Encoder", "OBJECTIVES", "PretrainingHyperModel"]

Encoder = Callable[[keras_tuner.HyperParameters, Sequence[int | None]], keras.Model]
"""A function of `hp` and the shape of the images that builds an encoder."""

OBJECTIVES = ("knn", "linear", "probe", "rankme", "lidar")
"""Names of figures in the results that can be a `score`; for all of them, larger is better."""


class PretrainingHyperModel(keras_tuner.HyperModel):
    """Pretrains by a recipe with settings of `hp`, and scores the encoder on held-out images.

    `build` returns the compiled model with all its variables, so that keras-tuner can load its
    weights. `fit` trains it, judges the encoder once at the end, and returns figures by name: those
    of the validation images (`val_knn`, ...) and the last epoch's logs (`loss` and the terms).

    The objective is never the loss, because losses with different weights or temperatures cannot be
    compared. `rankme` and `lidar` need no labels, but are poor guides after short runs
    (docs/inspection.md has the correlations).

    With `keras_tuner.Hyperband`, the epochs of a rung are the first ones of the recipe's schedule.
    Give the tuner `max_epochs=recipe.epochs`; promoted trials then go on exactly where they
    stopped, with the same optimizer, order of the images and draws of the augmentations.

    All trials have the same seed, so that they differ only in their settings, and the precision
    (`keras.config.set_dtype_policy`) at the time when the hypermodel is made.

    Args:
        recipe: Settings that are not searched, and the defaults of those that are.
        images: Images to train and to judge with; see `keras_ssl.data.hold_out`. Without labels,
            `score` must be "rankme" or "lidar".
        space: The search space; see `keras_ssl.spaces`. Default: `spaces.all_settings`.
        encoder: Name of an encoder (`keras_ssl.encoders.build_encoder`), or a function of `hp` and
            the shape of the images, whose height and width are None if views have another size.
        score: The figure by which trials are compared: "knn", "linear", "probe" (the online probe,
            on the validation images), "rankme" or "lidar".
        label_free: Whether RankMe, alpha-ReQ, uniformity and LiDAR of the validation images are
            recorded too. A `score` of "rankme" or "lidar" turns it on.
        measure: A function from (model, `keras_ssl.data.HeldOut`) to a dictionary of further
            figures of the trained model.
        seed: Seed of weights, order and augmentations, unless `hp` holds "seed".
        micro_batch_size: See `keras_ssl.models.JointEmbeddingModel`.
        name: Name of the hypermodel.

    Raises:
        ValueError: for an unknown encoder, policy or score, a score that needs labels if there are
            none, fewer images than a batch, a seed below 0, or a number of epochs, a batch or a
            micro-batch below 1.
        TypeError: for a recipe or images of another type, or a space, an encoder or a measure that
            is not a function.

    Example:
        A trial has the settings of `hp`, and the recipe's own where `hp` says nothing.

        >>> from keras_ssl import recipes
        >>> images = data.hold_out(data.load("digits"))
        >>> space = spaces.combine(spaces.temperature, spaces.learning_rate)
        >>> hypermodel = PretrainingHyperModel(recipes.SMALL["simclr"], images, space)
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.values["temperature"] = 0.5
        >>> recipe = hypermodel.trial_recipe(hp)
        >>> recipe.criterion, recipe.base_learning_rate, hypermodel.objective.name
        ({'temperature': 0.5}, 0.006, 'val_knn')
    """

    def __init__(
        self,
        recipe: Recipe,
        images: data.HeldOut,
        space: spaces.Space | None = None,
        encoder: str | Encoder = "resnet8",
        score: str = "knn",
        label_free: bool = False,
        measure: Callable[[models.JointEmbeddingModel, data.HeldOut], Mapping[str, float]]
        | None = None,
        seed: int = 0,
        micro_batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(recipe, Recipe):
            raise TypeError(
                "`recipe` must be a keras_ssl.recipes.Recipe, such as recipes.SMALL['vicreg']. "
                f"Received: {recipe!r}"
            )
        if not isinstance(images, data.HeldOut):
            raise TypeError(
                "`images` must be what keras_ssl.data.hold_out returns. Received: "
                f"{type(images).__name__}"
            )
        recipe.build_policy()  # Raises now if there is none, and not in every trial.
        check_choice("score", score, OBJECTIVES)
        if score in ACCURACIES and not (images.train.has_labels and images.validation.has_labels):
            raise ValueError(
                f"`score` must be 'rankme' or 'lidar' if there are no labels. Received: {score=}"
            )
        if images.test is not None and images.train.has_labels and not images.test.has_labels:
            raise ValueError(
                "`images` must have test images with labels, or none: the others have labels. "
                "Received: test images without labels"
            )
        for part in images[1:]:
            if part is not None:
                check_classes(images.train, part)
        if (count := images.train.example_count) < recipe.batch_size:
            unit = "images" if images.train.groups is None else "groups"
            raise ValueError(
                f"`recipe` must not have larger batches than there are {unit} to train on. "
                f"Received: batch_size={recipe.batch_size}, {count} {unit}"
            )
        if isinstance(encoder, str):
            encoders.check_encoder(encoder, recipe.view_size is not None)
        else:
            check_callable("encoder", encoder)
        for function, value in (("space", space), ("measure", measure)):
            if value is not None:
                check_callable(function, value)
        self.recipe, self.images = recipe, images
        self.space = spaces.all_settings if space is None else space
        self.encoder = encoder
        self.score = score
        self.label_free = label_free or score in ("rankme", "lidar")
        self.measure = measure
        self.seed = check_seed("seed", seed)
        self.micro_batch_size = check_optional_count("micro_batch_size", micro_batch_size)
        self.dtype_policy = keras.config.dtype_policy()
        self._warn_if_nothing_is_searched()

    def _warn_if_nothing_is_searched(self) -> None:
        hp = keras_tuner.HyperParameters()
        self.trial_recipe(hp)
        if not hp.space and not isinstance(self.encoder, str):
            self.build_encoder(hp)
        # With `fixed`, this is what the user asked for.
        if not hp.space and self.space is not spaces.fixed:
            warnings.warn(
                "`space` has no hyperparameter: all trials are the recipe itself. If that is what "
                "you want, say `space=keras_ssl.spaces.fixed`.",
                stacklevel=3,
            )

    @property
    def objective(self) -> keras_tuner.Objective:
        """The objective for a tuner: `score` on the validation images, where larger is better."""
        return keras_tuner.Objective(f"val_{self.score}", "max")

    def trial_recipe(self, hp: keras_tuner.HyperParameters) -> Recipe:
        """Returns the recipe with the settings of `hp`."""
        recipe = self.space(hp, self.recipe)
        if not isinstance(recipe, Recipe):
            raise TypeError(
                "`space` must return a keras_ssl.recipes.Recipe. Received: a "
                f"{type(recipe).__name__}"
            )
        return recipe

    def build_encoder(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Builds the untrained encoder of a trial."""
        shape = self.images.train.image_shape
        any_size = self.trial_recipe(hp).view_shape(shape) != (None, *shape)
        if isinstance(self.encoder, str):
            return encoders.build_encoder(self.encoder, shape, any_size=any_size)
        return self.encoder(hp, (None, None, shape[-1]) if any_size else shape)

    def build(self, hp: keras_tuner.HyperParameters) -> models.JointEmbeddingModel:
        """Builds the model of a trial and its optimizer, and compiles the model."""
        recipe = self.trial_recipe(hp)
        # keras-tuner calls `clear_session` before each trial, which forgets the policy.
        keras.config.set_dtype_policy(self.dtype_policy)
        keras.utils.set_random_seed(self._seed(hp))
        encoder = self.build_encoder(hp)
        classes = len(self.images.train.class_names or ()) if self.score == "probe" else None
        micro = {} if self.micro_batch_size is None else {"micro_batch_size": self.micro_batch_size}
        model = recipe.build_model(encoder, classes, **micro)
        model.compile(recipe.build_optimizer(self._steps(recipe)))
        # Keras-tuner loads weights into the built model, in a later rung or for the best trial.
        model.build(recipe.view_shape(self.images.train.image_shape))
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: models.JointEmbeddingModel,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Any = 0,
    ) -> dict[str, float]:
        """Trains the model of a trial and judges it on the validation images.

        Args:
            hp: Settings of the trial.
            model: The model that `build` returned for them.
            epochs: The epoch at which to stop. Default: the recipe's epochs. Hyperband passes its
                rung's.
            initial_epoch: Number of epochs for which the model has been trained.
            callbacks: Keras-tuner's callbacks and the user's.
            verbose: See `keras.Model.fit`.

        Returns:
            Figures by name, among them the objective.

        Raises:
            keras_ssl.callbacks.NonFiniteLossError: if a loss is not finite; keras-tuner then
                records the trial as failed, with the reason.
        """
        recipe = self.trial_recipe(hp)
        views = data.make_views(
            self.images.train, recipe.build_policy(), recipe.batch_size, self._seed(hp)
        )
        with forgotten_gradients():
            history = model.fit(
                views,
                epochs=recipe.epochs if epochs is None else check_count("epochs", epochs),
                initial_epoch=initial_epoch,
                callbacks=[StopOnNonFinite(), *callbacks],
                verbose=verbose,
            ).history
        figures = {name: float(values[-1]) for name, values in history.items()}
        figures.update(self.judge(model, self.images.validation, "val_"))
        if self.measure is not None:
            figures.update(self.measure(model, self.images))
        return figures

    def judge(
        self, model: models.JointEmbeddingModel, images: data.ImageSet, prefix: str = ""
    ) -> dict[str, float]:
        """Computes figures of the encoder on images that it was not trained on.

        Args:
            model: A trained model.
            images: Images to judge it on.
            prefix: Prefix of the figures' names.
        """
        figures: dict[str, float] = {}
        train = self.images.train
        if train.has_labels and images.has_labels:
            # Without label-free figures: the rank would be that of the training images.
            figures.update(evaluation.judge(model.encoder, train, images, label_free=False))
        if model.probe is not None and images.has_labels:
            features = evaluation.extract(model.encoder, images)
            answers = np.argmax(keras.ops.convert_to_numpy(model.probe(features.values)), axis=-1)
            figures["probe"] = float(np.mean(answers == features.labels))
        if self.label_free or not figures:
            policy = self.recipe.build_policy()  # The same for all trials, which are compared.
            figures.update(evaluation.judge(model.encoder, images, policy=policy))
        return {f"{prefix}{name}": float(value) for name, value in figures.items()}

    def _steps(self, recipe: Recipe) -> int:
        return self.images.train.example_count // recipe.batch_size

    def _seed(self, hp: keras_tuner.HyperParameters) -> int:
        return hp.values.get("seed", self.seed)


if not TYPE_CHECKING:
    __getattr__ = _renames.moved(__name__, _renames.PYTHON[__name__])
