"""Judges encoders by figures of their frozen features."""

from keras_ssl.evaluation.cka import CKA, cka_matrix, draw_cka, linear_cka
from keras_ssl.evaluation.features import Features, extract, extract_views, raw_pixels
from keras_ssl.evaluation.hypersphere import alignment, uniformity
from keras_ssl.evaluation.judgment import (
    judge,
    judge_beside_baselines,
    judge_raw_pixels,
    table,
    untrained,
)
from keras_ssl.evaluation.knn import (
    PAPER_NEIGHBORS,
    PAPER_TEMPERATURES,
    knn_accuracy,
    knn_grid,
)
from keras_ssl.evaluation.linear_probe import linear_accuracy
from keras_ssl.evaluation.spectrum import alpha_req, lidar, rankme

__all__ = [
    "CKA",
    "PAPER_NEIGHBORS",
    "PAPER_TEMPERATURES",
    "Features",
    "alignment",
    "alpha_req",
    "cka_matrix",
    "draw_cka",
    "extract",
    "extract_views",
    "judge",
    "judge_beside_baselines",
    "judge_raw_pixels",
    "knn_accuracy",
    "knn_grid",
    "lidar",
    "linear_accuracy",
    "linear_cka",
    "rankme",
    "raw_pixels",
    "table",
    "uniformity",
    "untrained",
]
