"""The optimizer of the papers, which Keras lacks, and their learning rates."""

from keras_ssl.optimizers.lars import LARS
from keras_ssl.optimizers.schedules import scaled_learning_rate, warmup_cosine

__all__ = ["LARS", "scaled_learning_rate", "warmup_cosine"]
