"""Callbacks for `fit`."""

from keras_ssl.callbacks.checkpoint import (
    CheckpointWarning,
    EpochCheckpoint,
    Position,
    Stopped,
    StopSignals,
    checkpoints,
    epochs_done,
    latest_checkpoint,
    position,
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
    "Position",
    "StopOnNonFinite",
    "StopSignals",
    "Stopped",
    "checkpoints",
    "epochs_done",
    "latest_checkpoint",
    "position",
]
