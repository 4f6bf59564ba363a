"""Checks that each message names the argument, what is expected, and what was received."""

import inspect

import numpy as np
import pytest
from keras import ops

from keras_ssl import losses
from tests.catalog import CRITERIA, check_complete


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize(
    ("shape_1", "shape_2", "message"),
    [
        ((4, 3), (4, 2), r"same shape.*Received: z_1.shape=\(4, 3\), z_2.shape=\(4, 2\)"),
        ((4, 3), (5, 3), "same shape"),
        ((4,), (4,), r"matrices.*Received: z_1.shape=\(4,\)"),
        ((4, 3, 2), (4, 3, 2), "matrices"),
        ((1, 3), (1, 3), r"at least 2 samples.*\(1, 3\)"),
        ((4, 1), (4, 1), r"at least 2 dimensions.*\(4, 1\)"),
    ],
    ids=["dimensions", "samples", "rank-1", "rank-3", "N=1", "M=1"],
)
def test_embeddings(name, shape_1, shape_2, message):
    with pytest.raises(ValueError, match=message):
        CRITERIA[name]()(np.ones(shape_1), np.ones(shape_2))


# For each argument of any criterion: the values that are refused, and what the message says.
BAD = {
    "temperature": [(0, "positive.*temperature=0"), (-1, "-1"), (float("nan"), "nan")],
    "invariance_weight": [(-1, "zero or a positive.*-1")],
    "variance_weight": [(-1, "zero or a positive")],
    "covariance_weight": [(-0.1, "zero or a positive"), ("low", "'low'")],
    "redundancy_weight": [(-1, "zero or a positive")],
    "alignment_weight": [(-1, "zero or a positive")],
    "distortion": [(0, "positive")],
    "squared_radius": [(0, "positive")],
    "uniformity_weight": [(-1, "zero or a positive")],
    "entropy_weight": [(-1, "zero or a positive")],
    "order": [(0, "positive.*order=0")],
    "sigreg_weight": [(1.5, r"in \[0, 1\].*1.5")],
    "global_views": [(0, "global_views=0")],
    "whitening_size": [(1, "at least 2.*whitening_size=1"), (0, "whitening_size=0")],
    "shrinkage": [(0, r"in \(0, 1\].*shrinkage=0"), (2, "2")],
    "divisor": [("rows", "features.*batch.*'rows'")],
    "contrast": [("rows", "dimensions.*samples.*'rows'")],
    "penalty": [("l1", "squares.*log_sum_exp.*'l1'")],
    "negatives": [("some", "same_view.*cross_view.*'some'|cross_view.*same_view.*'some'")],
    "similarity": [("dot", "cosine.*squared.*absolute.*'dot'")],
    "normalization": [("none", "embeddings.*dimensions.*'none'")],
    "side": [("rows", "auto.*gram.*covariance.*'rows'"), (None, "None")],
    "block_size": [(0, "block_size=0"), (1.5, "1.5")],
}


def _arguments(criterion):
    return [name for name in inspect.signature(criterion).parameters if name not in OF_ALL]


OF_ALL = ("name", "dtype")  # Keras' own


@pytest.mark.parametrize("name", CRITERIA)
def test_arguments(name):
    arguments = _arguments(CRITERIA[name])
    check_complete(BAD, arguments, "add a row to BAD in tests/losses/test_bad_input.py")
    for argument in arguments:
        for value, message in BAD[argument]:
            with pytest.raises(ValueError, match=f"`{argument}`.*({message})"):
                CRITERIA[name](**{argument: value})


def test_spectral_has_no_negatives_of_both_views():
    with pytest.raises(ValueError, match="`negatives`.*cross_view.*'all'"):
        losses.SpectralContrastiveLoss(negatives="all")


@pytest.mark.parametrize(
    ("returned", "received"),
    [
        (lambda z: {"spread": ops.mean(z)}, "'spread': "),
        (lambda z: {"distance": ops.mean(z, axis=1)}, r"'distance': .*3"),
        (lambda z: ops.mean(z), "Received: .*Tensor"),
    ],
    ids=["other name", "vector", "no dictionary"],
)
def test_terms_that_do_not_fit_the_weights(returned, received):
    class Mine(losses.Criterion):
        weights = {"distance": 1.0}

        def terms(self, z_1, z_2):
            return returned(z_1)

    z = np.eye(3, dtype="float32")
    with pytest.raises(ValueError, match=f"`terms` of Mine must return .*'distance'.*{received}"):
        Mine()(z, z)


def test_a_criterion_without_weights_or_terms():
    class Mine(losses.Criterion):
        pass

    class Weighted(losses.Criterion):
        weights = {"distance": 1.0}

    z = np.eye(3, dtype="float32")
    with pytest.raises(NotImplementedError, match="Mine must define `weights`"):
        _ = Mine().weights
    with pytest.raises(NotImplementedError, match="Weighted must override `terms`"):
        Weighted()(z, z)
