"""SIGReg's statistic in closed form, against SciPy, samples of directions, and theory."""

import numpy as np
import pytest
from scipy.special import hyp1f1

from keras_ssl import duality, losses
from keras_ssl.losses import gram
from keras_ssl.losses.gram import directions
from tests import reference


def along(k, a):
    """The statistic along one direction, in closed form."""
    x = k @ a
    pairs = np.exp(-((x[:, None] - x) ** 2) / 2)
    mean = pairs.mean() - np.sqrt(2) * np.exp(-(x**2) / 4).mean() + 1 / np.sqrt(3)
    return len(x) * np.sqrt(2 * np.pi) * mean


def unit_vectors(m, count, seed=0):
    a = np.random.RandomState(seed).randn(m, count)
    return a / np.linalg.norm(a, axis=0)


@pytest.mark.parametrize("dimensions", [2, 3, 5, 16, 64, 512, 2048])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-12), ("float32", 5e-7)])
def test_kernel(dimensions, dtype, tolerance):
    """Relative to the value, from distance 0 to where all directions are long."""
    s = np.concatenate([[0], dimensions * np.geomspace(1e-6, 1e4, 200)]).astype(dtype)
    kernel = directions.Kernel(dimensions, dtype)
    exact = s.astype("float64")
    value = hyp1f1(0.5, dimensions / 2, -exact)
    slope = -hyp1f1(1.5, dimensions / 2 + 1, -exact) / dimensions
    is_known = np.isfinite(value) & (value > 0) & (slope < 0)  # SciPy's own limits.
    assert is_known.mean() > 0.7
    np.testing.assert_allclose(np.asarray(kernel.value(s))[is_known], value[is_known], tolerance)
    np.testing.assert_allclose(np.asarray(kernel.slope(s))[is_known], slope[is_known], tolerance)


@pytest.mark.parametrize("shape", [(40, 3), (64, 16), (16, 64)])
def test_a_sample_of_directions_is_within_its_error(shape):
    k = 0.7 * np.random.RandomState(1).randn(*shape) + 0.2
    exact = float(duality.epps_pulley(k))
    assert exact == pytest.approx(reference.epps_pulley(k), rel=1e-10)
    for count in (64, 1024, 16384):
        values = [along(k, a) for a in unit_vectors(shape[1], count).T]
        error = np.std(values) / np.sqrt(count)
        assert abs(np.mean(values) - exact) < 4 * error


def test_the_published_rule_and_what_it_leaves_out():
    k = np.random.RandomState(0).randn(64, 8) * 1.5
    values = []
    t = np.linspace(0, 3, 17)
    weights = np.full(17, 2 * 3 / 16)
    weights[[0, -1]] = 3 / 16
    random = np.random.default_rng(5)
    a = random.standard_normal((8, 32))
    for x in (k @ (a / np.linalg.norm(a, axis=0))).T:
        error = np.abs(np.exp(1j * np.outer(t, x)).mean(axis=1) - np.exp(-(t**2) / 2)) ** 2
        values.append(64 * np.sum(weights * np.exp(-(t**2) / 2) * error))
    ours = duality.epps_pulley(k, slices=32, seed=5)
    assert float(ours) == pytest.approx(np.mean(values), rel=1e-10)
    # With a wide and fine rule, nothing is left out.
    whole = float(duality.epps_pulley(k, slices=32, points=400, limit=12.0, seed=5))
    directions_ = (a / np.linalg.norm(a, axis=0)).T
    assert whole == pytest.approx(np.mean([along(k, a) for a in directions_]), rel=1e-9)
    assert 0 < whole - float(ours) < 0.05 * whole


def test_what_is_expected_of_normal_embeddings():
    """The expectation of |mean exp(i t x) - exp(-t^2 / 2)|^2 is (1 - exp(-t^2)) / N."""
    exact = [float(duality.epps_pulley(np.random.RandomState(s).randn(128, 32))) for s in range(40)]
    expected = np.sqrt(2 * np.pi) * (1 - 1 / np.sqrt(3))
    assert np.mean(exact) == pytest.approx(expected, abs=4 * np.std(exact) / np.sqrt(40))
    t = np.linspace(0, 3, 17)
    weights = np.full(17, 2 * 3 / 16)
    weights[[0, -1]] = 3 / 16
    published = np.sum(weights * np.exp(-(t**2) / 2) * (1 - np.exp(-(t**2))))
    assert published == pytest.approx(1.0525, abs=1e-4)
    assert f"{expected:.3f}" == "1.059"


def test_a_rotation_changes_nothing():
    k = np.random.RandomState(0).randn(32, 8) * np.arange(1, 9)
    rotation = np.linalg.qr(np.random.RandomState(1).randn(8, 8))[0]
    assert float(duality.epps_pulley(k @ rotation)) == pytest.approx(float(duality.epps_pulley(k)))


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_float32_is_exact_to_five_digits(mean):
    k = (np.random.RandomState(0).randn(512, 256) + mean / 16).astype("float32")
    exact = float(duality.epps_pulley(k.astype("float64")))
    assert float(duality.epps_pulley(k)) == pytest.approx(exact, rel=1e-5)


def test_few_directions_are_far_from_normal():
    random = np.random.RandomState(0)
    k = random.randn(256, 4) @ np.linalg.qr(random.randn(512, 4))[0].T * np.sqrt(128)
    assert float(duality.epps_pulley(k)) > 10 * float(duality.epps_pulley(random.randn(256, 512)))


def test_global_views():
    views = np.random.RandomState(0).randn(4, 8, 5)
    terms = losses.SIGRegLoss(global_views=2, dtype="float64").measure(*views)
    center = views[:2].mean(axis=0)
    assert float(terms["invariance"]) == pytest.approx(np.mean((views - center) ** 2))
    expected = np.mean([reference.epps_pulley(z) for z in views])
    assert float(terms["sigreg"]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="`global_views` must be at most the number of views, 4"):
        losses.SIGRegLoss(global_views=5)(*views)


def test_unknown_dimensions_have_no_kernel():
    import tensorflow as tf

    traced = tf.function(gram.epps_pulley, input_signature=[tf.TensorSpec((4, None))])
    with pytest.raises(ValueError, match="number of dimensions must be known"):
        traced(np.ones((4, 3), "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": np.ones((4, 1))}, "`k` must have at least 2 dimensions"),
        ({"k": np.ones(4)}, "`k` must be a matrix"),
        ({"slices": 0}, "`slices`"),
        ({"slices": 4, "points": 1}, "`points` must be at least 2"),
        ({"slices": 4, "limit": 0}, "`limit`"),
        ({"slices": 4, "seed": -1}, "`seed`"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        duality.epps_pulley(**{"k": np.random.RandomState(0).randn(4, 3), **arguments})
