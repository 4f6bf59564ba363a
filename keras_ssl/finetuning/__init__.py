"""Trains a classifier from an encoder and few labels, beside training from scratch."""

from keras_ssl.finetuning.comparison import Comparison, compare, mean_and_error
from keras_ssl.finetuning.subsets import label_subset
from keras_ssl.finetuning.training import PARTS, accuracy, build_classifier, fit_classifier

__all__ = [
    "PARTS",
    "Comparison",
    "accuracy",
    "build_classifier",
    "compare",
    "fit_classifier",
    "label_subset",
    "mean_and_error",
]
