import keras
import numpy as np
import pytest

from keras_ssl import optimizers

MOMENTUM, DECAY, TRUST = 0.9, 0.01, 0.02


def _reference(weights, gradients, rates, rate_in_momentum, adapted):
    """Writes out the published updates of VICReg's and Barlow Twins' code, or of SimCLR's."""
    w, v = weights.astype("float64"), np.zeros_like(weights, "float64")
    for g, lr in zip(gradients, rates, strict=True):
        g = g.astype("float64")
        if adapted:
            g = g + DECAY * w
            w_norm, g_norm = np.linalg.norm(w), np.linalg.norm(g)
            if w_norm > 0 and g_norm > 0:
                g = g * TRUST * w_norm / g_norm
        if rate_in_momentum:
            v = MOMENTUM * v + lr * g
            w = w - v
        else:
            v = MOMENTUM * v + g
            w = w - lr * v
    return w


@pytest.mark.parametrize("rate_in_momentum", [False, True], ids=["vicreg", "simclr"])
@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 5), (5,), ()], ids=str)
@pytest.mark.parametrize("zero", [False, True], ids=["weights", "zero-weights"])
def test_lars_equals_the_written_out_update(shape, rate_in_momentum, zero):
    rng = np.random.RandomState(0)
    weights = np.zeros(shape) if zero else np.asarray(rng.randn(*shape))
    gradients = [np.asarray(rng.randn(*shape), "float32") for _ in range(3)]
    rates = [0.5, 0.25, 0.1]  # The conventions differ only if the rate changes.
    variable = keras.Variable(weights.astype("float32"))
    optimizer = optimizers.LARS(0.5, MOMENTUM, DECAY, TRUST, rate_in_momentum)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([gradient], [variable])
    expected = _reference(weights, gradients, rates, rate_in_momentum, adapted=len(shape) > 1)
    np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)


def test_lars_leaves_out_what_is_excluded_from_its_decay():
    found = []
    for decay, excluded in ((DECAY, ["position"]), (0.0, None), (DECAY, None)):
        variable = keras.Variable(np.ones((3, 2), "float32"), name="position")
        optimizer = optimizers.LARS(0.5, MOMENTUM, decay, TRUST)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        optimizer.apply([np.full((3, 2), [0.1, 0.3], "float32")], [variable])
        found.append(np.asarray(variable))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has no MultiOptimizer"
)
def test_factors_of_learning_rates_need_one_optimizer():
    with pytest.raises(ValueError, match="such as AdamW. Received: optimizer=Muon"):
        optimizers.scale_learning_rates(keras.optimizers.Muon(0.1), [])
    several = keras.optimizers.MultiOptimizer({"a": keras.optimizers.SGD(0.1)})
    with pytest.raises(ValueError, match="`optimizer` must be a single one"):
        optimizers.scale_learning_rates(several, [])


@pytest.mark.parametrize("rate", [1e-3, 0.01, 0.5], ids=["clipped", "in between", "adapted"])
def test_clipped_steps_are_those_of_the_published_codes(rate):
    """No step is larger than the learning rate makes it, or than the trust ratio allows."""
    rng = np.random.RandomState(0)
    w, v = rng.randn(4, 3), np.zeros((4, 3))
    variable = keras.Variable(w.astype("float32"))
    optimizer = optimizers.LARS(rate, MOMENTUM, DECAY, TRUST, clip_trust_ratio=True)
    for scale in (10.0, 1.0, 0.01):  # The scale of the gradient.
        gradient = scale * rng.randn(4, 3)
        norms = np.linalg.norm(w), np.linalg.norm(gradient)
        ratio = TRUST * norms[0] / (norms[1] + DECAY * norms[0] + 1e-8)
        v = MOMENTUM * v + (gradient + DECAY * w) * min(ratio / rate, 1)
        w = w - rate * v
        optimizer.apply([gradient.astype("float32")], [variable])
    np.testing.assert_allclose(variable, w, rtol=1e-5)


def test_clipped_steps_of_a_warm_up_begin_with_none():
    variable = keras.Variable(np.ones((2, 2), "float32"))
    optimizer = optimizers.LARS(0.0, clip_trust_ratio=True)
    optimizer.apply([np.ones((2, 2), "float32")], [variable])
    np.testing.assert_array_equal(variable, np.ones((2, 2)))


@pytest.mark.parametrize("shape", [(5,), (), (4, 3), (4, 2)], ids=str)
def test_vectors_may_have_a_learning_rate_of_their_own(shape):
    """So may biases of more axes, as those of attention."""
    rng = np.random.RandomState(0)
    weights = np.asarray(rng.randn(*shape))
    gradients = [np.asarray(rng.randn(*shape), "float32") for _ in range(2)]
    name = "bias" if shape == (4, 2) else None
    variable = keras.Variable(weights.astype("float32"), name=name)
    optimizer = optimizers.LARS(0.2, MOMENTUM, DECAY, TRUST, one_dimensional_factor=0.0048 / 0.2)
    for gradient in gradients:
        optimizer.apply([gradient], [variable])
    is_vector = len(shape) < 2 or name is not None
    rates = [0.0048 if is_vector else 0.2] * 2
    expected = _reference(weights, gradients, rates, False, adapted=not is_vector)
    np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-7)


def test_the_two_conventions_differ():
    results = []
    for rate_in_momentum in (False, True):
        variable = keras.Variable(np.ones((2, 2), "float32"))
        optimizer = optimizers.LARS(1.0, learning_rate_in_momentum=rate_in_momentum)
        for rate in (1.0, 0.1):
            optimizer.learning_rate = rate
            optimizer.apply([np.ones((2, 2), "float32")], [variable])
        results.append(variable.numpy())
    assert np.abs(results[0] - results[1]).max() > 1e-5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"momentum": 1.5}, "`momentum`"),
        ({"weight_decay": -1}, "`weight_decay`"),
        ({"trust_coefficient": 0}, "`trust_coefficient`"),
    ],
)
def test_lars_bad_input(kwargs, message):
    with pytest.raises(ValueError, match=message):
        optimizers.LARS(**kwargs)


def test_the_learning_rate_rule():
    assert optimizers.scaled_learning_rate(0.3, 2048) == pytest.approx(2.4)


def test_warmup_cosine():
    schedule = optimizers.warmup_cosine(
        0.3, 512, steps_per_epoch=10, epochs=100, warmup_epochs=10, final_fraction=0.001
    )
    peak = 0.6
    assert float(schedule(0)) == 0
    assert float(schedule(50)) == pytest.approx(peak / 2)
    assert float(schedule(100)) == pytest.approx(peak)
    assert float(schedule(550)) == pytest.approx((peak + 0.001 * peak) / 2, rel=1e-4)
    assert float(schedule(1000)) == pytest.approx(0.001 * peak, rel=1e-3)


def test_a_warmup_of_nearly_all_epochs_leaves_a_step():
    schedule = optimizers.warmup_cosine(0.3, 256, 10, 1, warmup_epochs=0.96)
    assert (schedule.warmup_steps, schedule.decay_steps) == (9, 1)


def test_no_warmup():
    schedule = optimizers.warmup_cosine(0.3, 256, 10, 10, warmup_epochs=0)
    assert float(schedule(0)) == pytest.approx(0.3)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"base_learning_rate": 0}, "`base_learning_rate`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"warmup_epochs": 10}, "`warmup_epochs`.*epochs=10"),
        ({"final_fraction": 2}, "`final_fraction`"),
    ],
)
def test_schedule_bad_input(kwargs, message):
    settings = {"base_learning_rate": 0.3, "batch_size": 256, "steps_per_epoch": 5, "epochs": 10}
    with pytest.raises(ValueError, match=message):
        optimizers.warmup_cosine(**{"warmup_epochs": 1, **settings, **kwargs})
