import keras
import numpy as np
import pytest

from keras_ssl import layers, models
from tests.conftest import tiny_encoder


def test_the_last_layer_is_bare():
    projector = layers.Projector("16-16-4")
    projector.build((None, 8))
    # Two hidden layers have a kernel, a bias, and four variables of batch normalization; the last
    # layer has a kernel.
    assert len(projector.weights) == 2 * (2 + 4) + 1
    zero = projector(np.zeros((3, 8), "float32"))
    assert zero.shape == (3, 4)
    np.testing.assert_array_equal(zero, 0)


def test_a_normalized_one_ends_in_batch_normalization():
    projector = layers.Projector("5-3", normalized=True)
    x = np.random.RandomState(0).randn(6, 4).astype("float32")
    bare = layers.Projector("5-3")
    bare.build(x.shape)
    projector.build(x.shape)
    # The moving mean and variance are all that it adds.
    assert len(projector.weights) == len(bare.weights) + 2
    for own, other in zip(projector.trainable_weights, bare.trainable_weights, strict=True):
        own.assign(other)
    y = bare(x, training=True).numpy()
    expected = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)
    np.testing.assert_allclose(projector(x, training=True), expected, atol=1e-4)


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
    [
        ("8192-8192-512", (8192, 8192, 512)),
        ("64", (64,)),
        ([8, 4], (8, 4)),
        ((8, 4), (8, 4)),
        ([np.int64(8), np.uint8(4)], (8, 4)),
        (np.array([8, 4]), (8, 4)),
    ],
    ids=str,
)
def test_specs(spec, widths):
    projector = layers.Projector(spec)
    assert projector.widths == widths
    assert all(type(width) is int for width in projector.widths)


@pytest.mark.parametrize(
    "spec",
    [
        *("", "8-", "8--4", "8x4", "8.5-4", "8-0", "a", 8, 8.0, None, [], ["8"]),
        *([8, 0], [8, -1], [8.5], [np.float32(8)], [True], [[8, 4]]),
    ],
    ids=repr,
)
def test_bad_specs(spec):
    with pytest.raises(ValueError, match="`widths` must be whole numbers.*Received: widths="):
        layers.Projector(spec)


def test_feature_maps_are_refused():
    with pytest.raises(ValueError, match=r"`representations` must be a matrix.*\(2, 4, 4, 8\)"):
        layers.Projector("8-4")(keras.ops.zeros((2, 4, 4, 8)))


class TestDefaultProjector:
    @pytest.mark.parametrize("method", [models.VICReg, models.VICRegCtr, models.BarlowTwins])
    def test_a_huge_one_is_warned_of_where_there_is_no_accelerator(self, method, monkeypatch):
        monkeypatch.setattr("keras_ssl.layers.projector.has_accelerator", lambda: False)
        with pytest.warns(UserWarning, match=r'8192.*million.*projector="2048-2048-512"') as caught:
            method(tiny_encoder())
        assert len(caught) == 1
        assert caught[0].filename == __file__

    @pytest.mark.parametrize(
        ("method", "projector", "has_accelerator"),
        [
            (models.VICReg, "8192-8192-8192", False),
            (models.VICReg, None, True),
            (models.SimCLR, None, False),
        ],
        ids=["wanted", "accelerator", "small"],
    )
    def test_others_are_not(self, method, projector, has_accelerator, monkeypatch):
        monkeypatch.setattr("keras_ssl.layers.projector.has_accelerator", lambda: has_accelerator)
        method(tiny_encoder(), projector)  # Warnings are errors.


@pytest.mark.parametrize("make", [lambda **k: layers.Projector("5-3", **k), layers.Predictor])
def test_one_that_is_frozen_is_so_in_a_file(make):
    part = make(**({} if make is not layers.Predictor else {"hidden": "5"}))
    part.build((None, 3))
    part.trainable = False
    again = type(part).from_config(part.get_config())
    again.build((None, 3))
    assert not any(weight.trainable for weight in again.weights)
    assert len(again.weights) == len(part.weights)
    again.trainable = True
    assert again.trainable_weights


def test_its_own_losses_are_those_of_all_views():
    """Keras would keep those of the last view alone."""
    x = np.random.RandomState(0).uniform(size=(3, 4, 8, 8, 1)).astype("float32")
    layer = keras.layers.Dense(5, activity_regularizer=keras.regularizers.L2(0.1))
    model = models.VICReg(tiny_encoder(), keras.Sequential([layer]))
    for views in (tuple(x), tuple(x[:1])):
        _, embeddings = model.embed(views)
        expected = sum(0.1 * np.sum(np.square(z)) / len(z) for z in map(np.asarray, embeddings))
        assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
