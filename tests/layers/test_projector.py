import keras
import numpy as np
import pytest

from keras_ssl import layers


def test_the_last_layer_is_bare():
    projector = layers.Projector("16-16-4")
    projector.build((None, 8))
    # Two hidden layers of kernel, bias, and batch normalisation's four; one kernel.
    assert len(projector.weights) == 2 * (2 + 4) + 1
    zero = projector(np.zeros((3, 8), "float32"))
    assert zero.shape == (3, 4)
    np.testing.assert_array_equal(zero, 0)


def test_order_is_linear_norm_relu():
    projector = layers.Projector([5, 3])
    x = np.random.RandomState(0).randn(6, 4).astype("float32")
    y = projector(x, training=True).numpy()
    kernel, bias, gamma, beta, last, *_ = (w.numpy() for w in projector.trainable_weights)
    hidden = x @ kernel + bias
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5) * gamma + beta
    np.testing.assert_allclose(y, np.maximum(hidden, 0) @ last, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "widths"),
    [("8192-8192-512", (8192, 8192, 512)), ("64", (64,)), ([8, 4], (8, 4)), ((8, 4), (8, 4))],
)
def test_specs(spec, widths):
    assert layers.Projector(spec).widths == widths


@pytest.mark.parametrize(
    "spec", ["", "8-", "8--4", "8x4", "8.5-4", [8, 0], [8, -1], [], [8.5], "a"]
)
def test_bad_specs(spec):
    with pytest.raises(ValueError, match="`widths` must be whole numbers.*Received: widths="):
        layers.Projector(spec)


def test_feature_maps_are_refused():
    with pytest.raises(ValueError, match=r"`representations` must be a matrix.*\(2, 4, 4, 8\)"):
        layers.Projector("8-4")(keras.ops.zeros((2, 4, 4, 8)))
