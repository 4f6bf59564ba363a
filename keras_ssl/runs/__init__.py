"""What a pretraining run leaves behind and prints: its folder, log, curves and progress."""

from keras_ssl._log import stage
from keras_ssl.runs.curves import draw_curves
from keras_ssl.runs.folder import RunFolder, RunWarning, scaling_of, size_of, versions
from keras_ssl.runs.metrics_log import MetricsLog, read_metrics
from keras_ssl.runs.progress import Progress, duration

__all__ = [
    "MetricsLog",
    "Progress",
    "RunFolder",
    "RunWarning",
    "draw_curves",
    "duration",
    "read_metrics",
    "scaling_of",
    "size_of",
    "stage",
    "versions",
]
