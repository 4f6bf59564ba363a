"""Compares every criterion with an independent float64 reference and with published values."""

import numpy as np
import pytest

from keras_ssl import losses
from tests import reference
from tests.catalog import CRITERIA, check_complete

# Two are enough for most mistakes.
SHAPES = [(2, 7), (8, 5)]
MORE_SHAPES = [(2, 2), (5, 8), (33, 16), (16, 64)]


def _views(shape, scale=1.0):
    rng = np.random.RandomState(shape[0] * 100 + shape[1])
    z_1 = scale * rng.randn(*shape)
    return z_1, z_1 + 0.5 * scale * rng.randn(*shape)


def _nt_xent(positive, **kwargs):
    full = {"negatives": "all", "similarity": "cosine", "normalization": "embeddings", **kwargs}
    criterion = losses.NTXentLoss if positive else losses.DCLLoss
    return (
        criterion(dtype="float64", **full),
        lambda a, b: reference.info_nce(a, b, positive_in_denominator=positive, **full),
    )


CASES = {
    "vicreg": (
        losses.VICRegLoss(dtype="float64"),
        lambda a, b: reference.vicreg_family(a, b, (25, 25, 1)),
    ),
    "vicreg-weights": (
        losses.VICRegLoss(3.0, 0.5, 7.0, dtype="float64"),
        lambda a, b: reference.vicreg_family(a, b, (3, 0.5, 7)),
    ),
    "vicreg-exp": (
        losses.VICRegExpLoss(dtype="float64"),
        lambda a, b: reference.vicreg_family(a, b, (1, 1, 2), temperature=0.1),
    ),
    "vicreg-ctr": (
        losses.VICRegCtrLoss(dtype="float64"),
        lambda a, b: reference.vicreg_family(a, b, (1, 1, 1), samples=True, temperature=0.15),
    ),
    "vicreg-ctr-literal": (
        losses.VICRegCtrLoss(divisor="batch", dtype="float64"),
        lambda a, b: reference.vicreg_family(
            a, b, (1, 1, 1), samples=True, temperature=0.15, divisor=len(a) - 1
        ),
    ),
    "samples-squares": (
        losses.VICRegFamilyLoss("samples", "squares", dtype="float64"),
        lambda a, b: reference.vicreg_family(a, b, (25, 25, 1), samples=True),
    ),
    "barlow-twins": (
        losses.BarlowTwinsLoss(dtype="float64"),
        lambda a, b: reference.barlow_twins(a, b, 0.0051),
    ),
    "spectral": (
        losses.SpectralContrastiveLoss(dtype="float64"),
        lambda a, b: reference.spectral(a, b, 1.0, "cross_view"),
    ),
    "spectral-same-view": (
        losses.SpectralContrastiveLoss(10.0, "same_view", dtype="float64"),
        lambda a, b: reference.spectral(a, b, 10.0, "same_view"),
    ),
    "tcr": (
        losses.CodingRateLoss(dtype="float64"),
        lambda a, b: reference.coding_rate(a, b, 30.0, 0.2),
    ),
    "emp-ssl": (
        losses.EMPSSLLoss(dtype="float64"),
        lambda *views: reference.emp_ssl(views, 200.0, 0.2),
    ),
    "byol": (
        losses.AlignmentLoss(dtype="float64"),
        reference.alignment,
    ),
    "moco-v3": (losses.MoCoLoss(dtype="float64"), lambda a, b: reference.moco(a, b, 0.2)),
    "uniformity": (
        losses.UniformityLoss(0.5, 2.0, 3.0, dtype="float64"),
        lambda a, b: reference.uniformity(a, b, 0.5, 2.0, 3.0),
    ),
    "frossl": (
        losses.FroSSLLoss(dtype="float64"),
        lambda *views: reference.matrix_entropy(views, 2, 8.0, 1.0, dimensions=True),
    ),
    "frossl-embeddings": (
        losses.FroSSLLoss(1.4, "embeddings", dtype="float64"),
        lambda *views: reference.matrix_entropy(views, 2, 1.4, 1.0),
    ),
    "i-vne": (
        losses.IVNELoss(dtype="float64"),
        lambda *views: reference.matrix_entropy(views, 1, 4.16, 0.5),
    ),
    "matrix-entropy": (
        losses.MatrixEntropyLoss(0.5, 2.0, 3.0, dtype="float64"),
        lambda *views: reference.matrix_entropy(views, 0.5, 2.0, 3.0),
    ),
    "mmcr": (losses.MMCRLoss(dtype="float64"), reference.mmcr),
    "vibcreg": (
        losses.VIbCRegLoss(dtype="float64"),
        lambda a, b: reference.vibcreg(a, b, (25, 50, 200)),
    ),
    "w-mse": (
        losses.WMSELoss(shrinkage=0.01, dtype="float64"),
        lambda a, b: reference.w_mse(a, b, 0.01),
    ),
    "gram-anchor": (losses.GramAnchorLoss(dtype="float64"), reference.gram_anchor),
    "sigreg": (losses.SIGRegLoss(dtype="float64"), lambda *views: reference.sigreg(views, 0.05)),
    "sigreg-one-global-view": (
        losses.SIGRegLoss(0.02, 1, dtype="float64"),
        lambda *views: reference.sigreg(views, 0.02, 1),
    ),
    **{
        f"{'nt-xent' if positive else 'dcl'}-{negatives}-{similarity}": _nt_xent(
            positive, temperature=0.3, negatives=negatives, similarity=similarity
        )
        for positive in (True, False)
        for negatives in ("all", "same_view", "cross_view")
        for similarity in ("cosine", "squared", "absolute")
    },
    "nt-xent-a": _nt_xent(True, temperature=0.15, normalization="centered_embeddings"),
    "nt-xent-b": _nt_xent(True, temperature=0.15, normalization="dimensions"),
    "dcl-b": _nt_xent(False, temperature=0.1, normalization="dimensions"),
}


def test_every_criterion_has_a_reference():
    check_complete(
        {type(criterion).__name__ for criterion, _ in CASES.values()},
        CRITERIA,
        "write its formula in tests/reference.py and add a row to CASES in "
        "tests/losses/test_values.py; the replica tests take their criteria from there",
    )


def _sized(shape, marks=()):
    return pytest.param(shape, marks=marks, id=f"{shape[0]}x{shape[1]}")


@pytest.mark.parametrize(
    "shape", [*map(_sized, SHAPES), *(_sized(s, pytest.mark.long) for s in MORE_SHAPES)]
)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_float64_reference(case, shape):
    criterion, expected = CASES[case]
    z_1, z_2 = _views(shape)
    # NumPy and TensorFlow differ when they divide by a norm of 0, which does not occur here.
    np.testing.assert_allclose(float(criterion(z_1, z_2)), expected(z_1, z_2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [name for name, (c, _) in CASES.items() if c.takes_all_views])
def test_all_views_at_once_equal_the_float64_reference(case):
    criterion, expected = CASES[case]
    for shape in [(9, 5), (5, 9)]:
        z, *others = _views(shape)
        views = [z, *others, z - others[0], z * others[0]]
        np.testing.assert_allclose(float(criterion(*views)), expected(*views), rtol=1e-9)


@pytest.mark.parametrize(
    ("criterion", "published"),
    [
        (losses.VICRegLoss(), 10.370984),
        (losses.NTXentLoss(temperature=0.5), 1.546050),
        (losses.DCLLoss(temperature=0.1), -1.666195),
        (losses.BarlowTwinsLoss(redundancy_weight=0.005), 0.045907),
    ],
    ids=["vicreg", "nt-xent", "dcl", "barlow-twins"],
)
def test_equals_lightly(criterion, published):
    rng = np.random.RandomState(0)
    x = rng.randn(8, 5)
    y = x + 0.5 * rng.randn(8, 5)
    assert float(criterion(x, y)) == pytest.approx(published, abs=1.5e-6)


@pytest.mark.parametrize("samples", [2, 8, 100])
def test_identical_embeddings_leave_nt_xent_a_guess_among_all(samples):
    z = np.ones((samples, 4))
    assert float(losses.NTXentLoss()(z, z)) == pytest.approx(np.log(2 * samples - 1), rel=1e-6)
    assert float(losses.NTXentLoss(negatives="same_view")(z, z)) == pytest.approx(
        np.log(samples), rel=1e-6
    )


def test_official_simclr_is_twice_ours():
    """google-research/simclr adds the mean cross-entropies of view a and view b."""
    z_1, z_2 = _views((6, 4))
    a, b = reference.normalize(z_1, "embeddings"), reference.normalize(z_2, "embeddings")
    total = 0
    for own, other in ((a, b), (b, a)):
        logits = np.concatenate([own @ other.T, own @ own.T - 1e9 * np.eye(6)], axis=1) / 0.15
        top = logits.max(1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
        total += np.mean(log_sum - np.diag(logits[:, :6]))
    assert float(losses.NTXentLoss(dtype="float64")(z_1, z_2)) == pytest.approx(total / 2)


def test_default_constants_are_the_published_ones():
    assert losses.VICRegLoss().weights == {
        "invariance": 25.0,
        "variance": 25.0,
        "covariance": 1.0,
    }
    exp, ctr = losses.VICRegExpLoss(), losses.VICRegCtrLoss()
    assert (*exp.weights.values(), exp.temperature) == (1.0, 1.0, 2.0, 0.1)
    assert (*ctr.weights.values(), ctr.temperature) == (1.0, 1.0, 1.0, 0.15)
    assert losses.BarlowTwinsLoss().redundancy_weight == 0.0051
    assert losses.NTXentLoss().temperature == 0.15
    assert losses.DCLLoss().temperature == 0.1
    assert losses.SpectralContrastiveLoss().squared_radius == 1.0
    assert (losses.CodingRateLoss().alignment_weight, losses.CodingRateLoss().distortion) == (
        30.0,
        0.2,
    )
    assert losses.SIGRegLoss().sigreg_weight == 0.05
    assert losses.MoCoLoss().temperature == 0.2
    assert losses.FroSSLLoss().weights == {"invariance": 8.0, "entropy": 1.0}
    assert losses.IVNELoss().weights == {"invariance": 4.16, "entropy": 0.5}
    assert losses.UniformityLoss().weights == {"alignment": 1.0, "uniformity": 1.0}
    assert list(losses.VIbCRegLoss().weights.values()) == [25.0, 50.0, 200.0]


@pytest.mark.parametrize("case", CASES)
def test_loss_is_the_weighted_sum_of_its_named_terms(case):
    criterion, _ = CASES[case]
    z_1, z_2 = _views((8, 5))
    terms = criterion.measure(z_1, z_2)
    assert list(terms) == list(criterion.weights)
    total = sum(criterion.weights[name] * float(value) for name, value in terms.items())
    assert float(criterion(z_1, z_2)) == pytest.approx(total)


def test_vicreg_terms_by_hand():
    z_1 = np.array([[0.0, 0.0], [2.0, 1.0]])
    z_2 = np.array([[0.0, 1.0], [2.0, 0.0]])
    terms = losses.VICRegLoss(dtype="float64").measure(z_1, z_2)
    assert float(terms["invariance"]) == pytest.approx(0.5)  # Two of four entries differ by 1.
    # The unbiased variances are 2 and 1/2 in both views; only the second is below 1.
    assert float(terms["variance"]) == pytest.approx((1 - np.sqrt(0.5 + 1e-4)) / 2)
    # The covariances are 1 and -1: two off-diagonal squares over two dimensions, in both views.
    assert float(terms["covariance"]) == pytest.approx(2.0)


@pytest.mark.parametrize("dimensions", [16, 512])
def test_ctr_products_have_one_scale_for_every_number_of_dimensions(dimensions):
    """Table 1 has embeddings of norm 1, which the variance term gives with the divisor M - 1."""
    z = np.random.RandomState(0).randn(1, dimensions)
    z = np.repeat(z / z.std(ddof=1), 2, axis=0)  # The product of the two samples is also 1.
    terms = losses.VICRegCtrLoss(temperature=0.5, dtype="float64").measure(z, z)
    assert float(terms["covariance"]) == pytest.approx(1 / 0.5)


@pytest.mark.parametrize("normalization", ["embeddings", "dimensions"])
@pytest.mark.parametrize("order", [0.5, 1, 2, 3])
def test_dead_dimensions_and_embeddings_do_not_raise_the_entropy(normalization, order):
    """What is 0 leaves the spectrum of the rest as it is; all zeros have no entropy."""
    z = np.random.RandomState(0).randn(16, 6)
    criterion = losses.MatrixEntropyLoss(order, normalization=normalization, dtype="float64")
    of_rest = float(criterion.measure(z, z)["entropy"])
    wide = np.concatenate([z, np.zeros((16, 4))], axis=1)
    long = np.concatenate([z, np.zeros((8, 6))])
    for padded in (wide, long):
        assert float(criterion.measure(padded, padded)["entropy"]) == pytest.approx(of_rest)
    assert float(criterion.measure(0 * z, 0 * z)["entropy"]) == 0
    assert -2 * np.log(6) <= of_rest < 0


def test_orders_near_one_keep_their_digits():
    z = np.random.RandomState(0).randn(64, 16).astype("float32")
    one = float(losses.MatrixEntropyLoss(1.0).measure(z, z)["entropy"])
    for order in (0.99999, 1.00001, 1.0000001):
        near = float(losses.MatrixEntropyLoss(order).measure(z, z)["entropy"])
        assert near == pytest.approx(one, rel=2e-5)


def test_the_highest_order():
    with pytest.raises(ValueError, match="`order` must be at most 8"):
        losses.MatrixEntropyLoss(8.5)


@pytest.mark.parametrize("order", [0.5, 1, 2, 3])
def test_the_entropy_of_what_is_not_finite_is_nan(order):
    broken = np.full((4, 4), np.nan)
    assert np.isnan(float(losses.MatrixEntropyLoss(order).measure(broken, broken)["entropy"]))


@pytest.mark.parametrize("order", [1.6, 3.0, 4.0, 8.0])
def test_high_orders_keep_their_digits(order):
    """Their sum is near N^(1 - a), which next to 1 is nothing."""
    z = np.random.RandomState(0).randn(256, 1024)
    values = [
        float(losses.MatrixEntropyLoss(order, dtype=dtype).measure(z, z)["entropy"])
        for dtype in ("float32", "float64")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_frossl_equals_lightly_for_its_weight():
    """lightly 1.6.0: FroSSLLoss(3.0) of two views; V M / N = 2 * 5 / 8 of its weight is ours."""
    rng = np.random.RandomState(0)
    x = rng.randn(8, 5)
    y = x + 0.5 * rng.randn(8, 5)
    assert float(losses.FroSSLLoss(3.0 * 2 * 5 / 8)(x, y)) == pytest.approx(-2.14913786, rel=1e-6)


def test_w_mse_in_parts():
    z_1, z_2 = _views((12, 3))
    ours = losses.WMSELoss(6, 0.01, dtype="float64")
    assert float(ours(z_1, z_2)) == pytest.approx(reference.w_mse(z_1, z_2, 0.01, 6))
    with pytest.raises(ValueError, match="`whitening_size` must divide.*whitening_size=5, 12"):
        losses.WMSELoss(5)(z_1, z_2)


def test_w_mse_of_what_is_not_finite_is_nan_also_in_a_gradient():
    import tensorflow as tf

    z_1, z_2 = (tf.constant(z, "float32") for z in _views((8, 3)))
    for bad in (float("nan"), float("inf")):
        wrong = tf.tensor_scatter_nd_update(z_1, [[0, 0]], [bad])
        with tf.GradientTape() as tape:
            tape.watch(wrong)
            loss = losses.WMSELoss()(wrong, z_2)
        assert np.isnan(float(loss))
        tape.gradient(loss, wrong)
