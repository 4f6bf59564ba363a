"""Callbacks for `fit`."""

from keras_ssl.callbacks.checkpoint import (
    CheckpointWarning,
    EpochCheckpoint,
    checkpoints,
    epochs_done,
)
from keras_ssl.callbacks.collapse_doctor import CollapseDoctor
from keras_ssl.callbacks.evaluation import EvaluationCallback
from keras_ssl.callbacks.inspector import EmbeddingInspector
from keras_ssl.callbacks.non_finite import NonFiniteLossError, StopOnNonFinite

__all__ = [
    "CheckpointWarning",
    "CollapseDoctor",
    "EmbeddingInspector",
    "EpochCheckpoint",
    "EvaluationCallback",
    "NonFiniteLossError",
    "StopOnNonFinite",
    "checkpoints",
    "epochs_done",
]
