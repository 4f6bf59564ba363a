"""Small settings of our own, for tiny images and minutes of CPU."""

import dataclasses
from typing import Any

import keras

from keras_ssl import models
from keras_ssl.recipes.optimizers import adamw
from keras_ssl.recipes.recipe import METHODS, Recipe, needed_arguments


def small(model: type[models.JointEmbeddingModel], **criterion: Any) -> Recipe:
    """Makes small settings for any method, for tiny images and minutes of CPU.

    Args:
        model: The method, such as your own.
        **criterion: Arguments of its criterion; the others keep their defaults.

    Raises:
        ValueError: for an argument that its criterion does not have.

    Example:
        The rest of the settings is the same for all methods.

        >>> recipe = small(models.SimCLR, temperature=0.5)
        >>> recipe.criterion, recipe.batch_size, recipe.epochs
        ({'temperature': 0.5}, 128, 40)
    """
    return Recipe(
        model,
        projector="256-256-256",
        batch_size=128,
        base_learning_rate=6e-3,
        weight_decay=1e-4,
        epochs=40,
        policy="tiny_gray",
        source="ours: benchmarks/methods.py",
        criterion=criterion,
        warmup_epochs=2,
        optimizer=adamw,
    )


SMALL: dict[str, Recipe] = {
    "simclr": small(models.SimCLR),
    "simclr-sq": small(models.SimCLR, similarity="squared"),
    "simclr-abs": small(models.SimCLR, similarity="absolute"),
    "dcl": small(models.DCL),
    "dcl-sq": small(models.DCL, similarity="squared"),
    "dcl-abs": small(models.DCL, similarity="absolute"),
    "spectral": small(models.SpectralContrastive),
    "vicreg-ctr": small(models.VICRegCtr),
    "vicreg": small(models.VICReg),
    "vicreg-exp": small(models.VICRegExp, invariance_weight=4.0, variance_weight=4.0),
    "vicreg-exp-table-s6": small(models.VICRegExp),
    "barlow-twins": small(models.BarlowTwins),
    "tcr": small(models.TCR),
    "emp-ssl": small(models.EMPSSL),
    "uniformity": small(models.AlignmentUniformity),
    "vibcreg": small(models.VIbCReg),
    # Whitening needs several times as many images in a batch as dimensions.
    "w-mse": dataclasses.replace(small(models.WMSE), projector="256-256-32"),
    "frossl": small(models.FroSSL),
    "i-vne": small(models.IVNE),
    "mmcr": small(models.MMCR),
    "lejepa": dataclasses.replace(small(models.LeJEPA), projector="256-256-64"),
    # In minutes, a teacher has to follow faster than the published ones, which have days.
    "byol": dataclasses.replace(
        small(models.BYOL),
        base_learning_rate=0.02,
        arguments={"hidden": "1024", "momentum": 0.95},
    ),
    "simsiam": dataclasses.replace(small(models.SimSiam), arguments={"hidden": "64"}),
    "moco-v3": dataclasses.replace(
        small(models.MoCoV3), arguments={"hidden": "256", "momentum": 0.99}
    ),
}
"""One recipe per method, for tiny images and minutes of CPU.

They have AdamW, and the published constants of the criteria except for VICReg-exp. With Table S6's
weights (1 / 1 / 2), its log-sum-exp crushes the variance at this size; 4 / 4 / 2 keep it up, and
are better. Both are in the table of docs/results.md.
"""


def methods() -> dict[str, Recipe]:
    """Returns a small recipe per method: `SMALL`, and your own methods by their names in Keras.

    Your own methods are the subclasses of `keras_ssl.models.JointEmbeddingModel` that have a
    default criterion, need no argument but an encoder, and are registered with Keras. To give one
    other settings or a shorter name, add a row to `SMALL` where the method is defined.

    Example:
        >>> list(methods())[:3], methods()["vicreg"] == SMALL["vicreg"]
        (['simclr', 'simclr-sq', 'simclr-abs'], True)
    """
    own = {
        name: _with_own_projector(small(part))
        for name, part in keras.saving.get_custom_objects().items()
        if _is_method(part) and part not in METHODS.values() and not needed_arguments(part)
    }
    return {**SMALL, **own}


def _is_method(part: Any) -> bool:
    """Whether something is the class of a method with a criterion."""
    return (
        isinstance(part, type)
        and issubclass(part, models.JointEmbeddingModel)
        and part.default_criterion is not None
    )


def _with_own_projector(recipe: Recipe) -> Recipe:
    """Small settings of your own method: with its default projector, unless that is inherited."""
    inherited = [
        method.default_projector for method in METHODS.values() if issubclass(recipe.model, method)
    ]
    projector = recipe.model.default_projector
    if not isinstance(projector, str) or projector in inherited:
        projector = recipe.projector
    source = f"{recipe.model.__name__}; the rest as for our methods on small images"
    return dataclasses.replace(recipe, projector=projector, source=source)
