"""Gram anchoring: the distance on either side, the layer, and an encoder that stays near itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import encoders, layers, losses, models
from keras_ssl.losses import gram
from tests.conftest import tiny_encoder

VIEWS = tuple(np.random.RandomState(0).uniform(size=(2, 16, 8, 8, 1)).astype("float32"))


def with_gradients(f, *z):
    z = [tf.convert_to_tensor(x) for x in z]
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = f(*z)
    return float(value), [np.asarray(g) for g in tape.gradient(value, z)]


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (8, 8)])
@pytest.mark.parametrize("side", gram.SIDES)
@pytest.mark.parametrize("apart", [1.0, 1e-3, 1e-6])
def test_distance(shape, side, apart):
    """Also of two that are nearly equal, whose difference of squares would be rounding."""
    rng = np.random.RandomState(0)
    a = rng.randn(*shape)
    b = a + apart * rng.randn(*shape)
    difference = a @ a.T - b @ b.T
    value, (of_a, of_b) = with_gradients(lambda x, y: gram.gram_distance(x, y, side), a, b)
    assert value == pytest.approx(np.sum(difference**2), rel=1e-8)
    np.testing.assert_allclose(of_a, 4 * difference @ a, rtol=1e-6, atol=1e-8 * apart)
    np.testing.assert_allclose(of_b, -4 * difference @ b, rtol=1e-6, atol=1e-8 * apart)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
@pytest.mark.parametrize("apart", [1.0, 1e-2])
def test_float32_on_either_side(shape, apart):
    rng = np.random.RandomState(1)
    a = rng.randn(*shape)
    b = a + apart * rng.randn(*shape)
    exact = with_gradients(losses.GramAnchorLoss(dtype="float64"), a, b)
    for side in gram.SIDES:
        ours = with_gradients(losses.GramAnchorLoss(side), a.astype("float32"), b.astype("float32"))
        assert ours[0] == pytest.approx(exact[0], rel=1e-4)
        assert np.linalg.norm(ours[1][0] - exact[1][0]) < 1e-4 * np.linalg.norm(exact[1][0])


def test_nearly_one_direction_has_an_absolute_error_of_rounding():
    """All cosines are 1 but for 1e-6: their differences are of the size of float32's rounding."""
    rng = np.random.RandomState(1)
    a, b = (10 + rng.randn(2, 64, 16) * 1e-2).astype("float32")
    for side in gram.SIDES:
        value, gradients = with_gradients(losses.GramAnchorLoss(side), a, b)
        assert 0 <= value < 1e-8
        assert np.abs(gradients).max() < 1e-6


def test_a_rotation_is_not_seen():
    rng = np.random.RandomState(0)
    a = rng.randn(12, 5)
    rotation = np.linalg.qr(rng.randn(5, 5))[0]
    assert float(losses.GramAnchorLoss(dtype="float64")(a, 3 * a @ rotation)) < 1e-28


def test_the_layer():
    rng = np.random.RandomState(0)
    images, changed = rng.randn(2, 12, 5).astype("float32")
    encoder = keras.layers.Dense(4)
    encoder.build((None, 5))
    layer = layers.GramAnchor(encoder, 2.0)
    np.testing.assert_array_equal(layer([images, changed[:, :4]], training=False), changed[:, :4])
    assert not layer.losses and not layer.trainable_weights
    before = np.asarray(encoder(images))
    encoder.kernel.assign(encoder.kernel + 1.0)
    layer([images, encoder(images)], training=True)
    expected = 2 * float(losses.GramAnchorLoss()(np.asarray(encoder(images)), before))
    assert float(layer.losses[0]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="`weight` must be zero or a positive"):
        layers.GramAnchor(encoder, -1)


def trained(weight, steps=20):
    """How far an encoder went from where it was, by the mean squared difference of cosines."""
    keras.utils.set_random_seed(0)
    encoder = tiny_encoder()
    before = np.asarray(encoder(VIEWS[0]))
    model = models.VICReg(encoders.anchored(encoder, weight), "16-8")
    model.compile(keras.optimizers.SGD(0.02), run_eagerly=True)
    for _ in range(steps):
        model.train_on_batch(VIEWS)
    return float(losses.GramAnchorLoss()(np.asarray(encoder(VIEWS[0])), before)), model, encoder


@pytest.mark.long
def test_an_anchored_encoder_stays_near_where_it_was():
    free, _, _ = trained(0.0)
    held, model, encoder = trained(300.0)
    assert held < free / 2
    copies = model.encoder.get_layer("gram_anchor").before.weights
    assert len(copies) == len(encoder.weights) + 1  # and the number of updates
    assert not any(w.trainable for w in copies)


def test_the_copy_is_in_inference_mode():
    encoder = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
    )
    anchor = encoders.anchored(encoder).get_layer("gram_anchor").before
    before = [np.asarray(w) for w in anchor.weights]
    twice = encoders.anchored(encoders.anchored(encoder))
    for _ in range(2):
        twice(VIEWS[0], training=True)
        assert len(twice.losses) == 2
    for a, b in zip(before, anchor.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loaded_one_stays_frozen_and_its_blocks_are_the_encoders(tmp_path):
    encoder = encoders.resnet((8, 8, 1), blocks=(1, 1), width=4)
    anchored = encoders.anchored(encoder)
    anchored.save(tmp_path / "anchored.keras")
    again = encoders.load_encoder(tmp_path / "anchored.keras")
    assert len(again.trainable_weights) == len(encoder.trainable_weights)
    np.testing.assert_allclose(again(VIEWS[0]), encoder(VIEWS[0]), rtol=1e-5, atol=1e-6)
    factors = [encoders.layer_factors(part, 0.5) for part in (encoder, anchored)]
    assert sorted(set(map(lambda f: f[1], factors[0]))) == sorted(
        set(map(lambda f: f[1], factors[1]))
    )


def test_the_term_is_that_of_every_view():
    model = trained(2.0, steps=0)[1]
    keras.utils.set_random_seed(1)
    model.build((None, 8, 8, 1))
    for weight in model.encoder.trainable_weights:
        weight.assign(weight + 0.1)
    _, embeddings = model.embed(VIEWS, training=True)
    assert len(model.losses) == 2
    loss = model.compute_loss(x=VIEWS, y_pred=embeddings)
    alone = model.criterion(*embeddings)
    assert float(loss) == pytest.approx(float(alone) + sum(map(float, model.losses)), rel=1e-5)


@pytest.mark.long
def test_it_is_saved_and_goes_on(tmp_path):
    _, model, _ = trained(1.0, steps=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for either in (model, again):
        either.train_on_batch(VIEWS)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_input():
    with pytest.raises(ValueError, match="`encoder` must know the shape of its images"):
        encoders.anchored(keras.Sequential([keras.layers.Flatten()]))
    with pytest.raises(TypeError, match="`encoder` must be a Keras model"):
        encoders.anchored("resnet8")
