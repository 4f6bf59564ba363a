"""Runs a small study as a program of its own.

python -m tests.studies.program FOLDER TRIALS SEEDS [FINALISTS]
"""

import dataclasses
import sys

import keras
import numpy as np

from keras_ssl import data, hypermodels, recipes, spaces, studies
from tests import conftest  # noqa: F401 (registers the policy)


def build_tiny(hp, image_shape):
    layers = keras.layers
    return keras.Sequential([layers.Input(image_shape), layers.Flatten(), layers.Dense(8)])


def arms():
    rng = np.random.RandomState(0)
    labels = np.arange(96) % 3
    pixels = rng.uniform(0, 80, (96, 8, 8, 1)) + 80 * labels[:, None, None, None]
    train, test = data.split(data.from_arrays(pixels.astype("uint8"), labels), 0.25)
    images = data.hold_out(data.Splits(train, test), 0.3)
    found = {}
    for name in ("simclr", "vicreg"):
        quick = dict(epochs=1, batch_size=16, projector="4", policy="tests>quick_policy")
        recipe = dataclasses.replace(recipes.SMALL[name], **quick)
        space = spaces.combine(spaces.criterion_settings, spaces.learning_rate)
        found[name] = hypermodels.PretrainingHyperModel(recipe, images, space, build_tiny)
    return found


if __name__ == "__main__":
    studies.Study(sys.argv[1], arms(), *map(int, sys.argv[2:])).run()
