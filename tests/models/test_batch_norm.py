import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import models
from keras_ssl.training import batch_norm
from tests.conftest import tiny_encoder

RNG = np.random.RandomState(0)
INPUTS = {"maps": RNG.normal(2, 3, (8, 6, 5, 4)), "vectors": RNG.normal(2, 3, (8, 4))}
ARGUMENTS = {
    "default": {},
    "no scale": {"scale": False},
    "no center": {"center": False},
    "bare": {"scale": False, "center": False},
    "other numbers": {"momentum": 0.5, "epsilon": 0.1},
    "tiny epsilon": {"epsilon": 1e-6},
}


def _layer(shape, **kwargs):
    layer = keras.layers.BatchNormalization(**kwargs)
    layer.build(shape)
    for weight in layer.trainable_weights:
        weight.assign(RNG.uniform(0.5, 2, weight.shape))
    return layer


def _step(layer, x, slope):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") * slope)
    gradients = tape.gradient(loss, [x, *[w.value for w in layer.trainable_weights]])
    return [y, *gradients, *[w.value for w in layer.non_trainable_weights]]


def _both(layer, x):
    """What a layer computes and becomes by itself, and fused."""
    x = tf.constant(x, "float32")
    slope = tf.constant(RNG.normal(size=x.shape), "float32")
    before = layer.get_weights()
    stock = _step(layer, x, slope)
    stock = [np.array(value) for value in stock]
    layer.set_weights(before)
    with batch_norm.fused(layer):
        fused = _step(layer, x, slope)
    return stock, fused


@pytest.mark.parametrize("kwargs", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(x, kwargs):
    for expected, value in zip(*_both(_layer(x.shape, **kwargs), x), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(dtype):
    x = INPUTS["maps"]
    stock, fused = _both(_layer(x.shape, dtype=dtype), x)
    assert fused[0].dtype == stock[0].dtype
    for expected, value in zip(stock, fused, strict=True):
        step = 2**-10 if dtype == "mixed_float16" else 2**-7
        value, expected = (np.array(tf.cast(v, "float32")) for v in (value, expected))
        np.testing.assert_allclose(value, expected, rtol=2 * step, atol=4 * step)


class Doubled(keras.layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


UNTOUCHED = {
    "axis": lambda: (keras.layers.BatchNormalization(axis=1), INPUTS["maps"]),
    "float64": lambda: (keras.layers.BatchNormalization(dtype="float64"), INPUTS["maps"]),
    "three axes": lambda: (keras.layers.BatchNormalization(), INPUTS["maps"][0]),
    "renorm": lambda: (keras.layers.BatchNormalization(renorm=True), INPUTS["maps"]),
    "a subclass": lambda: (Doubled(), INPUTS["maps"]),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_not_plain_is_left_to_keras(name):
    layer, x = UNTOUCHED[name]()
    layer.build(x.shape)
    for expected, value in zip(*_both(layer, x), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("training", [False, True])
def test_frozen_layers_and_inference_use_the_moving_statistics(training):
    x = INPUTS["maps"].astype("float32")
    layer = _layer(x.shape)
    layer.trainable = not training
    expected, before = layer(x, training=training), layer.get_weights()
    with batch_norm.fused(layer):
        np.testing.assert_array_equal(layer(x, training=training), expected)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_are_as_before_after_the_scope():
    model = models.VICReg(tiny_encoder(), "8-4")
    before = [dict(vars(layer)) for layer in batch_norm.all_layers(model)]
    with pytest.raises(RuntimeError), batch_norm.fused(model):
        assert any("call" in vars(layer) for layer in batch_norm.all_layers(model))
        raise RuntimeError
    for layer, attributes in zip(batch_norm.all_layers(model), before, strict=True):
        assert vars(layer).keys() == attributes.keys()


def test_scopes_within_each_other_and_calls_of_the_users_own():
    model = models.VICReg(tiny_encoder(), "8-4")
    (layer, *_) = [x for x in batch_norm.all_layers(model) if "batch" in x.name]
    own = vars(layer)["call"] = lambda inputs, **kwargs: inputs
    with batch_norm.fused(model), batch_norm.fused(model):
        assert layer.call is own
    assert layer.call is own


@pytest.mark.long
def test_replicas_in_a_loop_of_ones_own():
    """Their threads open the scope in turns."""
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([devices[0].name])
    with strategy.scope():
        model = models.VICReg(tiny_encoder(), "8-4")
        model.compile(keras.optimizers.SGD(1e-3))
        model.build((None, 8, 8, 1))
        model.optimizer.build(model.trainable_variables)
    views = tuple(RNG.uniform(size=(2, 8, 8, 8, 1)).astype("float32"))
    step = tf.function(lambda: strategy.run(model.train_step, ((views,),)))
    assert np.isfinite(step()["loss"])


@pytest.mark.long
def test_a_hundred_steps_are_those_of_keras(views, monkeypatch):
    """Of SGD: Adam divides by the size of a gradient, and makes one of rounding as large as any."""

    def weights():
        keras.utils.set_random_seed(0)
        model = models.VICReg(tiny_encoder(), "16-8")
        model.compile(keras.optimizers.SGD(1e-3))
        model.fit(views, steps_per_epoch=100, verbose=0)
        return model.get_weights()

    fused = weights()
    monkeypatch.setattr(batch_norm, "_can_be_fused", lambda layer: False)
    for expected, value in zip(weights(), fused, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
