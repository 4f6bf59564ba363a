"""Settings of our own for images of one kind, whichever method they take.

benchmarks/speedrun.py measures them.
"""

import dataclasses

from keras_ssl import models
from keras_ssl.recipes.recipe import Recipe
from keras_ssl.recipes.small import small

TUNED: dict[str, Recipe] = {
    "color-32px": dataclasses.replace(
        small(models.SimCLR),
        batch_size=256,
        epochs=19,
        policy="simsiam_cifar",
        view_size=24,
        source="ours: benchmarks/speedrun.py",
    ),
}
"""Recipes by the images that they are for; `keras-ssl pretrain` takes them where they fit."""
