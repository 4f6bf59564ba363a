"""Every criterion has the value and the gradient of its float64 reference, on Keras' backend."""

import keras
import numpy as np
import pytest

from keras_ssl import losses
from keras_ssl.losses import gram
from tests.backends.gradients import value_and_gradients
from tests.catalog import CRITERIA, CRITERIA_AND_VARIANTS, check_complete
from tests.losses.test_values import CASES

pytestmark = pytest.mark.every_backend


def in_float32(criterion):
    return type(criterion).from_config({**criterion.get_config(), "dtype": "float32"})


def views(shape):
    rng = np.random.RandomState(shape[0])
    z_1 = rng.randn(*shape)
    return z_1, z_1 + 0.5 * rng.randn(*shape)


def test_no_criterion_is_forgotten():
    covered = {
        name for name, kind in CRITERIA.items() for c, _ in CASES.values() if type(c) is kind
    }
    check_complete(covered, CRITERIA, "add a reference to CASES in tests/losses/test_values.py")


def cases():
    """All cases, those of a criterion after its first one marked as long."""
    seen = set()
    for i, (name, (criterion, _)) in enumerate(CASES.items()):
        is_first = type(criterion) not in seen
        seen.add(type(criterion))
        marks = () if is_first else pytest.mark.long
        yield pytest.param(name, ((9, 6), (6, 9))[i % 2], marks=marks)


@pytest.mark.parametrize(("name", "shape"), list(cases()))
def test_value_and_gradient_are_those_of_the_reference(name, shape):
    criterion, reference = CASES[name]
    z = views(shape)
    value, gradients = value_and_gradients(in_float32(criterion), *(x.astype("float32") for x in z))
    assert value == pytest.approx(reference(*z), rel=1e-5, abs=1e-5)
    directions = np.random.RandomState(0).normal(size=(2, *shape))
    forth, back = (
        reference(*(x + s * 1e-5 * d for x, d in zip(z, directions, strict=True))) for s in (1, -1)
    )
    slope = sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True))
    size = np.sqrt(
        sum(np.sum(g**2) * np.sum(d**2) for g, d in zip(gradients, directions, strict=True))
    )
    assert slope == pytest.approx((forth - back) / 2e-5, abs=1e-5 * max(size, 1))


@pytest.mark.parametrize(
    "name", [name for name in CRITERIA_AND_VARIANTS if "-gram" in name or "-blocks" in name]
)
def test_other_ways_to_compute_are_the_same(name):
    z = [x.astype("float32") for x in views((9, 6))]
    way = value_and_gradients(CRITERIA_AND_VARIANTS[name](), *z)
    usual = value_and_gradients(CRITERIA_AND_VARIANTS[name.split("-")[0]](), *z)
    assert way[0] == pytest.approx(usual[0], rel=1e-5)
    for a, b in zip(way[1], usual[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_embeddings_in_few_directions_need_float64():
    """The matrix of the coding rate cannot be factored in float32, also where that is the rule."""
    rng = np.random.RandomState(0)
    z = np.float32(100 * rng.randn(20, 1) * rng.randn(1, 8) + 0.1 * rng.randn(20, 8))
    value, (gradient,) = value_and_gradients(lambda x: gram.log_det(x), z)
    exact = z.astype("float64")
    matrix = np.eye(8) + exact.T @ exact
    assert value == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-6)
    expected = 2 * exact @ np.linalg.inv(matrix)
    assert np.linalg.norm(gradient - expected) < 1e-4 * np.linalg.norm(expected)


def test_half_precision_is_computed_in_float32():
    z = [x.astype("float16") for x in views((9, 6))]
    value, gradients = value_and_gradients(losses.NTXentLoss(), *z)
    exact, _ = value_and_gradients(losses.NTXentLoss(), *(x.astype("float32") for x in z))
    assert value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        ((np.zeros((4, 3), "float32"), np.zeros((4, 2), "float32")), "must have the same shape"),
        ((np.zeros((1, 3), "float32"),) * 2, "at least 2 samples"),
        ((np.zeros(3, "float32"),) * 2, "must be matrices"),
        ((np.zeros((4, 3), "int32"),) * 2, "of floats. Received: int32"),
    ],
)
def test_bad_embeddings_are_refused(z, message):
    with pytest.raises(ValueError, match=message):
        losses.VICRegLoss()(*map(keras.ops.convert_to_tensor, z))
