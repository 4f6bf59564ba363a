"""A module of a stranger: a method, a criterion, an optimizer and a policy of its own.

Registered with Keras as "stranger>NAME". Tests import it, and name it to `--import`.
"""

import keras
from keras import ops

from keras_ssl import data, losses, models

register = keras.saving.register_keras_serializable(package="stranger")


@register
class UniformityLoss(losses.Criterion):
    """Alignment and uniformity (Wang and Isola, 2020)."""

    search_ranges = {"uniformity_weight": (0.1, 10.0)}

    def __init__(self, uniformity_weight=1.0, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.uniformity_weight = uniformity_weight

    @property
    def weights(self):
        return {"alignment": 1.0, "uniformity": self.uniformity_weight}

    def terms(self, z_1, z_2):
        z_1, z_2 = ops.normalize(z_1, axis=1), ops.normalize(z_2, axis=1)
        energies = [ops.mean(ops.exp(4 * ops.matmul(z, ops.transpose(z)))) for z in (z_1, z_2)]
        return {
            "alignment": ops.mean(ops.sum(ops.square(z_1 - z_2), axis=1)),
            "uniformity": (ops.log(energies[0]) + ops.log(energies[1])) / 2,
        }


@register
class PlainLoss(UniformityLoss):
    """A criterion that says nothing of what is worth searching."""

    search_ranges = {}


@register
class Uniformity(models.JointEmbeddingModel):
    """A method of the stranger's own."""

    default_projector = "16-8"
    default_criterion = UniformityLoss


@register
def nadam(learning_rate, weight_decay):
    """An optimizer by a function."""
    return keras.optimizers.Nadam(learning_rate, weight_decay=weight_decay)


@register
class Lion(keras.optimizers.Lion):
    """An optimizer by a class, whose second argument is no weight decay."""


@register
def flips():
    """A policy that takes no strength."""
    return data.TwoViews(data.RandomFlip(0.5))


@register
def crops(strength=1.0):
    """A policy that takes a strength."""
    view = data.RandomResizedCrop(scale=(1 - 0.5 * strength, 1.0))
    return data.TwoViews(view)
