"""What needs no training, beside the arms of a study."""

import keras
import keras_tuner

from keras_ssl import data, evaluation
from keras_ssl.hypermodels import PretrainingHyperModel


def baselines(arm: PretrainingHyperModel, images: data.HeldOut, score: str) -> str:
    """Says what raw pixels and the untrained encoder of an arm score on the test images.

    Args:
        arm: The arm.
        images: The images of the study, with test images.
        score: "knn" or "linear".
    """
    keras.utils.set_random_seed(arm.seed)
    encoders = {
        "raw pixels": evaluation.raw_pixels(images.train.image_shape),
        "the untrained encoder": arm.build_encoder(keras_tuner.HyperParameters()),
    }
    figures = {
        name: evaluation.judge(encoder, images.train, images.test, label_free=False)[score]
        for name, encoder in encoders.items()
    }
    return ", ".join(f"{name} {100 * figure:.1f}" for name, figure in figures.items())
