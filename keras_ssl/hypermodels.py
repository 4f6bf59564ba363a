"""Any method as a keras-tuner `HyperModel`; a search space is a function of `hp`.

    images = hold_out(keras_ssl.data.load("digits"))
    hypermodel = PretrainingHyperModel(recipes.SMALL["simclr"], images)
    tuner = keras_tuner.BayesianOptimization(hypermodel, hypermodel.objective, max_trials=20)
    tuner.search()

A space takes `hp` and the recipe with the settings that are not searched, and gives the recipe of a
trial. `combine` puts spaces together; `SPACES` has one per method:

>>> import keras_tuner
>>> from keras_ssl import recipes
>>> space = combine(temperature, learning_rate)
>>> hp = keras_tuner.HyperParameters()
>>> recipe = space(hp, recipes.SMALL["simclr"])  # the defaults, which are the recipe's own
>>> recipe.criterion, recipe.base_learning_rate, list(hp.values)
({'temperature': 0.15}, 0.006, ['temperature', 'base learning rate'])

Neither paper nor its ancestors print the grids that they searched: the ranges are ours. Those of
criteria hold every published value; that of the learning rate is centred on the recipe's, for what
LARS wants is nothing to AdamW.

References:
    - Garrido et al., ICLR 2023: section 5, and Table S6 for the weights and temperatures.
    - Chen et al. (SimCLR), ICML 2020, appendix B.9: temperatures 0.1, 0.5 and 1.0.
    - Bardes et al. (VICReg), ICLR 2022: weights from 1 to 50.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np

from keras_ssl import data, encoders, evaluation, models
from keras_ssl._keras import forgotten_gradients
from keras_ssl._validation import (
    check_choice,
    check_count,
    check_fraction,
    check_optional_count,
    check_positive,
    check_seed,
)
from keras_ssl.callbacks import StopOnNonFinite
from keras_ssl.recipes import Recipe

Space = Callable[[keras_tuner.HyperParameters, Recipe], Recipe]
Encoder = Callable[[keras_tuner.HyperParameters, Sequence[int]], keras.Model]


# --- Spaces --------------------------------------------------------------------------------------


def combine(*spaces: Space) -> Space:
    """The space of all settings of `spaces`, applied in this order.

    Raises:
        TypeError: for a space that is no function.
    """
    for one in spaces:
        _check_callable("spaces", one)

    def space(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
        for one in spaces:
            recipe = one(hp, recipe)
        return recipe

    return space


def _check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"`{name}` must be callable. Received: {name}={value!r}")


def fixed(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """The space of one point: the recipe itself."""
    return recipe


def log_float(
    hp: keras_tuner.HyperParameters, name: str, low: float, high: float, default: float
) -> float:
    """A positive number on a logarithmic scale; the range is widened to hold `default`.

    Raises:
        ValueError: for a `low`, `high` or `default` that is not positive.
    """
    check_positive(name, default)
    check_positive("low", low)
    check_positive("high", high)
    low, high = min(low, default), max(high, default)
    return hp.Float(name, low, high, sampling="log", default=default)


def around(
    hp: keras_tuner.HyperParameters, name: str, default: float, factor: float = 10.0
) -> float:
    """A positive number from `default / factor` to `default * factor`, on a logarithmic scale."""
    return log_float(hp, name, default / factor, default * factor, default)


def learning_rate(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """The base learning rate, from an eighth to eight times the recipe's."""
    rate = around(hp, "base learning rate", recipe.base_learning_rate, 8.0)
    return dataclasses.replace(recipe, base_learning_rate=rate)


def weight_decay(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """The weight decay, from 1e-7 to 1e-2; by default 1e-7 where the recipe has none."""
    decay = log_float(hp, "weight decay", 1e-7, 1e-2, recipe.weight_decay or 1e-7)
    return dataclasses.replace(recipe, weight_decay=decay)


def projector_width(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """Width of hidden layers, from a quarter to four times the recipe's, in its proportions."""
    *hidden, dimensions = map(int, recipe.projector.split("-"))
    if not hidden:
        return recipe
    width = hp.Choice("projector width", _around_width(hidden[0]), default=hidden[0])
    widths = [max(round(own * width / hidden[0]), 1) for own in hidden]
    return dataclasses.replace(recipe, projector="-".join(map(str, [*widths, dimensions])))


def embedding_dimension(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """Width M of the embeddings, from a quarter to four times the recipe's."""
    *hidden, last = recipe.projector.split("-")
    dimensions = hp.Choice("embedding dimension", _around_width(int(last)), default=int(last))
    return dataclasses.replace(recipe, projector="-".join([*hidden, str(dimensions)]))


def _around_width(width: int) -> list[int]:
    return sorted({max(width * 2**i // 4, 1) for i in range(5)})


def augmentation_strength(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """Strength of the augmentations, from 0 to 1.8 times the policy's own."""
    highest = max(1.8, recipe.strength)
    strength = hp.Float("augmentation strength", 0.0, highest, default=recipe.strength)
    return dataclasses.replace(recipe, strength=strength)


def criterion_setting(
    argument: str, low: float, high: float, log: bool = True, label: str | None = None
) -> Space:
    """A space of one argument of the criterion.

    Args:
        argument: Its name, such as "temperature".
        low: Smallest value.
        high: Largest value.
        log: Whether the scale is logarithmic.
        label: Its name for people; default: `argument` without underscores.

    Raises:
        ValueError: for an empty range, or one that is not positive where the scale is logarithmic;
            when the space is used, if the criterion has no such argument, or one that is 0 where
            the scale is logarithmic.
        TypeError: for an argument that is no text.
    """
    if not isinstance(argument, str):
        raise TypeError(f"`argument` must be a name. Received: argument={argument!r}")
    if log:
        check_positive("low", low)
    if not low < high:
        raise ValueError(f"`high` must be above `low`. Received: low={low!r}, high={high!r}")

    def space(hp: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
        default = criterion_default(recipe, argument)
        name = label or argument.replace("_", " ")
        if log:
            value = log_float(hp, name, low, high, default)
        else:
            value = hp.Float(name, min(low, default), max(high, default), default=default)
        return dataclasses.replace(recipe, criterion={**recipe.criterion, argument: value})

    return space


def criterion_default(recipe: Recipe, argument: str) -> Any:
    """What the recipe's criterion has for `argument`: the recipe's own, or the criterion's."""
    criterion: Any = recipe.model.default_criterion
    arguments = inspect.signature(criterion).parameters
    check_choice("argument", argument, arguments)
    return recipe.criterion.get(argument, arguments[argument].default)


# 0.1, 0.5, 1: SimCLR's grid; 0.1 and 0.15: Table S6.
temperature = criterion_setting("temperature", 0.02, 1.0)
invariance_weight = criterion_setting("invariance_weight", 1.0, 50.0)
covariance_weight = criterion_setting("covariance_weight", 0.1, 25.0)

_VICREG_WEIGHTS = combine(invariance_weight, covariance_weight)

# What each criterion has to be tuned. Of VICReg's three weights two are free: all three together
# are a learning rate. (The variance's stays; for AdamW and LARS, that know no scale of the loss,
# nothing is lost.)
CRITERION_SPACES: dict[type[models.JointEmbeddingModel], Space] = {
    models.SimCLR: temperature,
    models.DCL: temperature,
    models.SpectralContrastive: criterion_setting("squared_radius", 0.1, 30.0),
    models.VICReg: _VICREG_WEIGHTS,
    models.VICRegExp: combine(_VICREG_WEIGHTS, temperature),
    models.VICRegCtr: combine(_VICREG_WEIGHTS, temperature),
    models.BarlowTwins: criterion_setting("redundancy_weight", 5e-4, 5e-2),
    models.TCR: combine(
        criterion_setting("alignment_weight", 3.0, 300.0),
        criterion_setting("distortion", 0.05, 1.0),
    ),
}

# Everything that a method is tuned by.
SPACES: dict[type[models.JointEmbeddingModel], Space] = {
    model: combine(space, learning_rate, weight_decay, projector_width, augmentation_strength)
    for model, space in CRITERION_SPACES.items()
}


# --- Data ----------------------------------------------------------------------------------------


class HeldOut(NamedTuple):
    """Images in three: to train on, to choose by, and for the last word.

    Attributes:
        train: Images to pretrain on, without labels in effect; what classifiers learn from.
        validation: Images that settings are chosen by.
        test: Images that nothing was chosen by; `None` where there are none.
    """

    train: data.ImageSet
    validation: data.ImageSet
    test: data.ImageSet | None


def hold_out(splits: data.Splits, validation_fraction: float = 0.2, seed: int = 0) -> HeldOut:
    """Sets a validation split apart from the images to train on.

    Args:
        splits: Images to train on and images to test on; see `keras_ssl.data.load`.
        validation_fraction: Share of the images to train on that settings are chosen by, above 0
            and below 1; stratified by class where there are labels.
        seed: Seed of the choice.

    Raises:
        ValueError: for a fraction that leaves nothing of either part, or a seed below 0.
        TypeError: for splits that are none.
    """
    if not (isinstance(splits, tuple) and len(splits) == 2):
        raise TypeError(
            "`splits` must be what keras_ssl.data.load gives, or keras_ssl.data.Splits(train, "
            f"test). Received: {type(splits).__name__}"
        )
    train, test = splits
    is_set = isinstance(test, (data.ImageSet, type(None)))
    if not isinstance(train, data.ImageSet) or not is_set:
        raise TypeError(
            "`splits` must hold two keras_ssl.data.ImageSet, or one and None. "
            f"Received: {type(train).__name__} and {type(test).__name__}"
        )
    seed = check_seed("seed", seed)
    count = round(check_fraction("validation_fraction", validation_fraction) * len(train))
    if not 2 <= count <= len(train) - 2:
        raise ValueError(
            "`validation_fraction` must leave at least 2 images in each part. Received: "
            f"validation_fraction={validation_fraction} of {len(train)} images"
        )
    if train.has_labels:
        kept, chosen = data.split(train, validation_fraction, seed)
        return HeldOut(kept, chosen, test)  # type: ignore[arg-type]  # `split` gives both.
    order = np.random.RandomState(seed).permutation(len(train))
    return HeldOut(train.subset(order[count:]), train.subset(order[:count]), test)


# --- The hypermodel ------------------------------------------------------------------------------

# By its name in the results: larger is better for all.
OBJECTIVES = ("knn", "linear", "probe", "rankme", "lidar")
# Those that need labels, and are accuracies in [0, 1].
ACCURACIES = ("knn", "linear", "probe")


class PretrainingHyperModel(keras_tuner.HyperModel):
    """Pretraining by a recipe with settings of `hp`, scored on images held out.

    `build` gives the compiled model, all variables made, so that keras-tuner can load its weights;
    `fit` trains it, judges the encoder once at the end, and returns figures by name: those of the
    validation images (`val_knn`, ...), and of the last epoch's logs (`loss` and the terms).

    The objective is never the loss: losses with different weights or temperatures cannot be
    compared. `rankme` and `lidar` need no label; after short runs they are poor guides
    (docs/inspection.md has the correlations).

    With `keras_tuner.Hyperband`, the epochs of a rung are the first of the recipe's schedule: give
    the tuner `max_epochs=recipe.epochs`, and promoted trials go on where they stood, optimizer,
    order of the images and draws of the augmentations included.

    All trials have one seed: what differs between them is their settings.

    Args:
        recipe: Settings that are not searched, and the defaults of those that are.
        images: Where to train and to judge; see `hold_out`. Without labels, `score` must be
            "rankme" or "lidar".
        space: What is searched. Default: all settings of the method, `SPACES`.
        encoder: Name of an encoder (`keras_ssl.encoders.build_encoder`), or a function of `hp` and
            the shape of the images.
        score: What trials are compared by: "knn", "linear", "probe" (the online probe, on the
            validation images), "rankme" or "lidar".
        label_free: Whether RankMe, alpha-ReQ, uniformity and LiDAR of the validation images are
            recorded along; "rankme" and "lidar" as `score` turn it on.
        measure: More figures of a trained model: from (model, images of `HeldOut`) to a dictionary.
        seed: Seed of weights, order and augmentations, unless `hp` holds "seed".
        micro_batch_size: See `keras_ssl.models.JointEmbeddingModel`.
        name: Name of the hypermodel.

    Raises:
        ValueError: for an unknown encoder, policy or score, a score that needs labels where there
            are none, fewer images than a batch, a seed below 0, or an epoch, a batch or a
            micro-batch below 1.
        TypeError: for a recipe or images of another type, or a space, an encoder or a measure that
            is no function.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: HeldOut,
        space: Space | None = None,
        encoder: str | Encoder = "resnet8",
        score: str = "knn",
        label_free: bool = False,
        measure: Callable[[models.JointEmbeddingModel, HeldOut], Mapping[str, float]] | None = None,
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
        if not isinstance(images, HeldOut):
            raise TypeError(
                "`images` must be what keras_ssl.hypermodels.hold_out gives. Received: "
                f"{type(images).__name__}"
            )
        recipe.build_policy()  # Whether there is one, now and not when every trial fails.
        check_choice("score", score, OBJECTIVES)
        if score in ACCURACIES and not (images.train.has_labels and images.validation.has_labels):
            raise ValueError(
                f"`score` must be 'rankme' or 'lidar' where there are no labels. Received: {score=}"
            )
        if len(images.train) < recipe.batch_size:
            raise ValueError(
                f"`recipe` has batches of {recipe.batch_size}, more than there are images. "
                f"Received: {len(images.train)} images to train on"
            )
        if isinstance(encoder, str):
            encoders.check_encoder(encoder)
        else:
            _check_callable("encoder", encoder)
        for function, value in (("space", space), ("measure", measure)):
            if value is not None:
                _check_callable(function, value)
        self.recipe, self.images = recipe, images
        self.space = SPACES.get(recipe.model, fixed) if space is None else space
        self.encoder = encoder
        self.score = score
        self.label_free = label_free or score in ("rankme", "lidar")
        self.measure = measure
        self.seed = check_seed("seed", seed)
        self.micro_batch_size = check_optional_count("micro_batch_size", micro_batch_size)

    @property
    def objective(self) -> keras_tuner.Objective:
        """The objective to give to a tuner: `score` on the validation images, larger is better."""
        return keras_tuner.Objective(f"val_{self.score}", "max")

    def trial_recipe(self, hp: keras_tuner.HyperParameters) -> Recipe:
        """The recipe with the settings of `hp`."""
        return self.space(hp, self.recipe)

    def build_encoder(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The encoder of a trial, untrained."""
        shape = self.images.train.image_shape
        if isinstance(self.encoder, str):
            return encoders.build_encoder(self.encoder, shape)
        return self.encoder(hp, shape)

    def build(self, hp: keras_tuner.HyperParameters) -> models.JointEmbeddingModel:
        """The model of a trial, compiled and built, its optimizer too."""
        recipe = self.trial_recipe(hp)
        keras.utils.set_random_seed(self._seed(hp))
        shape = self.images.train.image_shape
        encoder = self.build_encoder(hp)
        classes = len(self.images.train.class_names or ()) if self.score == "probe" else None
        model = recipe.build_model(encoder, classes, micro_batch_size=self.micro_batch_size)
        model.compile(recipe.build_optimizer(self._steps(recipe)))
        # Keras-tuner loads weights into what it builds: of a later rung, of the best trial.
        model.build((None, *shape))
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
            model: What `build` gave for them.
            epochs: Where to stop; default: the recipe's epochs. Hyperband gives its rung's.
            initial_epoch: Epochs that the model has behind it.
            callbacks: Keras-tuner's, and the user's.
            verbose: See `keras.Model.fit`.

        Returns:
            Figures by name, the objective's among them.

        Raises:
            keras_ssl.callbacks.NonFiniteLossError: where a loss is not a number; keras-tuner then
                records the trial as failed, with the reason.
        """
        recipe = self.trial_recipe(hp)
        views = data.two_views(
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
        """Figures of the encoder on images that it was not trained on.

        Args:
            model: A trained model.
            images: Images to judge it on.
            prefix: Begins the figures' names.
        """
        figures: dict[str, float] = {}
        train = self.images.train
        if train.has_labels and images.has_labels:
            # The rank would be that of the training images.
            figures.update(evaluation.judge(model.encoder, train, images, label_free=False))
        if model.probe is not None and images.has_labels:
            features = evaluation.extract(model.encoder, images)
            answers = np.argmax(model.probe(features.values), axis=-1)
            figures["probe"] = float(np.mean(answers == features.labels))
        if self.label_free or not figures:
            policy = self.recipe.build_policy()  # One for all trials: they are compared.
            figures.update(evaluation.judge(model.encoder, images, policy=policy))
        return {f"{prefix}{name}": float(value) for name, value in figures.items()}

    def _steps(self, recipe: Recipe) -> int:
        return len(self.images.train) // recipe.batch_size

    def _seed(self, hp: keras_tuner.HyperParameters) -> int:
        return hp.values.get("seed", self.seed)
