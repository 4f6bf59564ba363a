"""Training on several devices in step: how to start them, and how to write a criterion for them."""

from typing import TYPE_CHECKING

from keras_ssl import _renames
from keras_ssl.replicas import batch_mean, batch_size
from keras_ssl.training.replicated_model import WorkerLostError
from keras_ssl.training.strategies import STRATEGIES, is_chief, strategy

__all__ = [
    "STRATEGIES",
    "WorkerLostError",
    "batch_mean",
    "batch_size",
    "is_chief",
    "strategy",
]

if not TYPE_CHECKING:
    __getattr__ = _renames.moved(__name__, _renames.PYTHON[__name__])
