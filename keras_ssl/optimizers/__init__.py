"""The LARS optimizer and the schedules of the papers."""

from keras_ssl.optimizers.lars import LARS
from keras_ssl.optimizers.learning_rates import scale_learning_rates
from keras_ssl.optimizers.schedules import cosine_momentum, scaled_learning_rate, warmup_cosine

__all__ = [
    "LARS",
    "cosine_momentum",
    "scale_learning_rates",
    "scaled_learning_rate",
    "warmup_cosine",
]
