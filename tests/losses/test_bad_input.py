"""Each message names the argument, what is expected, and what was received."""

import numpy as np
import pytest

from keras_ssl import losses

ALL = [
    losses.VICRegLoss,
    losses.VICRegExpLoss,
    losses.VICRegCtrLoss,
    losses.VICRegFamilyLoss,
    losses.BarlowTwinsLoss,
    losses.NTXentLoss,
    losses.DCLLoss,
    losses.SpectralContrastiveLoss,
    losses.CodingRateLoss,
]


@pytest.mark.parametrize("criterion", ALL)
@pytest.mark.parametrize(
    ("shape_1", "shape_2", "message"),
    [
        ((4, 3), (4, 2), r"one shape.*Received: z_1.shape=\(4, 3\), z_2.shape=\(4, 2\)"),
        ((4, 3), (5, 3), "one shape"),
        ((4,), (4,), r"matrices.*Received: z_1.shape=\(4,\)"),
        ((4, 3, 2), (4, 3, 2), "matrices"),
        ((1, 3), (1, 3), r"at least 2 samples.*\(1, 3\)"),
        ((4, 1), (4, 1), r"at least 2 dimensions.*\(4, 1\)"),
    ],
    ids=["dimensions", "samples", "rank-1", "rank-3", "N=1", "M=1"],
)
def test_embeddings(criterion, shape_1, shape_2, message):
    with pytest.raises(ValueError, match=message):
        criterion()(np.ones(shape_1), np.ones(shape_2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.NTXentLoss(temperature=0), "`temperature`.*positive.*temperature=0"),
        (lambda: losses.NTXentLoss(temperature=-1), "`temperature`.*temperature=-1"),
        (lambda: losses.DCLLoss(temperature=float("nan")), "`temperature`.*nan"),
        (lambda: losses.DCLLoss(temperature="low"), "`temperature`.*'low'"),
        (lambda: losses.VICRegExpLoss(temperature=0), "`temperature`"),
        (lambda: losses.VICRegLoss(invariance_weight=-1), "`invariance_weight`.*-1"),
        (lambda: losses.VICRegLoss(variance_weight=-1), "`variance_weight`"),
        (lambda: losses.VICRegCtrLoss(covariance_weight=-0.1), "`covariance_weight`"),
        (lambda: losses.VICRegCtrLoss(divisor="rows"), "`divisor`.*features.*batch.*'rows'"),
        (lambda: losses.VICRegFamilyLoss(contrast="rows"), "`contrast`.*dimensions.*samples"),
        (lambda: losses.VICRegFamilyLoss(penalty="l1"), "`penalty`.*squares.*log_sum_exp"),
        (lambda: losses.BarlowTwinsLoss(-1), "`redundancy_weight`"),
        (lambda: losses.NTXentLoss(negatives="some"), "`negatives`.*all.*same_view.*'some'"),
        (lambda: losses.NTXentLoss(similarity="dot"), "`similarity`.*cosine.*'dot'"),
        (lambda: losses.NTXentLoss(normalization="none"), "`normalization`.*'none'"),
        (lambda: losses.SpectralContrastiveLoss(0), "`squared_radius`"),
        (lambda: losses.SpectralContrastiveLoss(negatives="all"), "`negatives`.*cross_view"),
        (lambda: losses.CodingRateLoss(distortion=0), "`distortion`"),
        (lambda: losses.CodingRateLoss(alignment_weight=-1), "`alignment_weight`"),
        (lambda: losses.VICRegLoss(side="rows"), "`side`.*auto.*gram.*covariance.*'rows'"),
        (lambda: losses.BarlowTwinsLoss(side=None), "`side`.*None"),
        (lambda: losses.DCLLoss(block_size=0), "`block_size`.*block_size=0"),
        (lambda: losses.VICRegExpLoss(block_size=1.5), "`block_size`.*1.5"),
    ],
)
def test_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
