"""Callbacks for `fit`."""

from keras_ssl.callbacks.checkpoint import EpochCheckpoint, checkpoints, epochs_done
from keras_ssl.callbacks.evaluation import EvaluationCallback
from keras_ssl.callbacks.non_finite import NonFiniteLossError, StopOnNonFinite

__all__ = [
    "EpochCheckpoint",
    "EvaluationCallback",
    "NonFiniteLossError",
    "StopOnNonFinite",
    "checkpoints",
    "epochs_done",
]
