"""One operation for each variable does the same steps, to rounding, as Keras' many."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_ssl import models, optimizers
from keras_ssl.optimizers.apply import apply_gradients
from keras_ssl.training import optimizer_steps
from keras_ssl.training.optimizer_steps import fused

SHAPES = {"kernel": (3, 3, 2, 5), "matrix": (4, 3), "bias": (5,), "scalar": ()}


def cosine():
    return keras.optimizers.schedules.CosineDecay(0.0, 9, warmup_target=0.1, warmup_steps=3)


def adamw(learning_rate=0.1, weight_decay=0.03, **kwargs):
    return keras.optimizers.AdamW(learning_rate, weight_decay, **kwargs)


def lars(learning_rate=0.1, **kwargs):
    return optimizers.LARS(learning_rate, 0.9, 0.03, trust_coefficient=0.1, **kwargs)


# How it is made, and the operation that does its step.
OPTIMIZERS = {
    "Adam": (lambda: keras.optimizers.Adam(0.1), "ResourceApplyAdam"),
    "AdamW": (lambda: adamw(cosine()), "ResourceApplyAdam"),
    "AMSGrad": (lambda: adamw(amsgrad=True), None),
    "clipped": (lambda: adamw(clipnorm=0.5, use_ema=True, ema_momentum=0.5), "ResourceApplyAdam"),
    "scaled": (lambda: keras.optimizers.LossScaleOptimizer(adamw()), "ResourceApplyAdam"),
    "SGD": (lambda: keras.optimizers.SGD(0.1), "ResourceApplyGradientDescent"),
    "momentum": (
        lambda: keras.optimizers.SGD(cosine(), 0.9, weight_decay=0.03),
        "ResourceApplyKerasMomentum",
    ),
    "Nesterov": (
        lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True),
        "ResourceApplyKerasMomentum",
    ),
    "LARS": (lambda: lars(cosine()), "ResourceApplyMomentum"),
    "LARS, SimCLR": (
        lambda: lars(cosine(), learning_rate_in_momentum=True),
        "ResourceApplyMomentum",
    ),
    "LARS, TCR": (lambda: lars(clip_trust_ratio=True), "ResourceApplyMomentum"),
    "LARS, Barlow Twins": (lambda: lars(one_dimensional_factor=0.25), "ResourceApplyMomentum"),
    "another one": (lambda: keras.optimizers.Lion(0.1), None),
}


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def trained(make, apply, steps=10):
    """Variables of the network and of the optimizer after some steps in a graph."""
    rng = np.random.RandomState(0)
    variables = [
        keras.Variable(rng.randn(*shape), dtype=keras.config.floatx(), name=name)
        for name, shape in SHAPES.items()
    ]
    optimizer = make()
    getattr(optimizer, "inner_optimizer", optimizer).exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)
    step = tf.function(lambda *gradients: apply(optimizer, gradients, variables))
    for _ in range(steps):
        gradients = [rng.randn(*shape) for shape in SHAPES.values()]
        step(*(ops.convert_to_tensor(g, keras.config.floatx()) for g in gradients))
    graph = step.get_concrete_function(*map(ops.convert_to_tensor, variables)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    kinds = {node.op for node in nodes if node.op.startswith("ResourceApply")}
    return [np.asarray(v) for v in (*variables, *optimizer.variables)], kinds


def apply_fused(optimizer, gradients, variables):
    with fused(optimizer):
        apply_gradients(optimizer, gradients, variables)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.usefixtures("float64")
def test_steps_are_those_of_keras(name):
    make, operation = OPTIMIZERS[name]
    expected, kinds = trained(make, apply_gradients)
    assert not kinds
    found, kinds = trained(make, apply_fused)
    assert kinds == ({operation} if operation else set())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_gradients_may_be_accumulated():
    """In float32, the only type in which Keras accumulates them."""
    expected, _ = trained(lambda: adamw(gradient_accumulation_steps=2), apply_gradients)
    found, kinds = trained(lambda: adamw(gradient_accumulation_steps=2), apply_fused)
    assert kinds == {"ResourceApplyAdam"}
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_gradient_of_a_few_rows_is_keras_own():
    """Embeddings have such gradients."""
    table = keras.Variable(np.ones((4, 2), "float32"))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([table])
    rows = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([4, 2]))
    apply_fused(optimizer, [rows], [table])
    np.testing.assert_array_equal(table, [[1, 1], [0, 0], [1, 1], [1, 1]])


class Twice(keras.optimizers.AdamW):
    """A user's own step."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, 2 * learning_rate)


def scaled(optimizer, gradients, variables):
    optimizers.scale_learning_rates(optimizer, [(variables[0], 0.1)])
    apply_fused(optimizer, gradients, variables)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "apply"),
    [(lambda: Twice(0.01), apply_fused), (lambda: keras.optimizers.AdamW(0.01), scaled)],
    ids=["of a class of one's own", "with learning rates of their own"],
)
def test_a_step_of_ones_own_is_left_alone(make, apply):
    assert not trained(make, apply)[1]


def test_the_optimizer_is_as_before_afterwards():
    optimizer, variable = keras.optimizers.AdamW(0.01), keras.Variable(1.0)
    optimizer.build([variable])
    before = dict(vars(optimizer))
    with fused(optimizer):
        assert vars(optimizer) != before
    assert vars(optimizer) == before


PLAIN = {
    "AdamW": lambda: keras.optimizers.AdamW(1e-3),
    "momentum": lambda: keras.optimizers.SGD(1e-3, 0.9),
    "LARS": lambda: optimizers.LARS(0.3),
}


def test_steps_of_replicas_are_keras_own():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        optimizer = keras.optimizers.AdamW(0.01)
        with fused(optimizer):
            assert "update_step" not in vars(optimizer)


@pytest.mark.parametrize("name", PLAIN)
def test_training_uses_it_and_is_the_same(name, monkeypatch):
    """In float32, with usual constants: TensorFlow's 1 - beta_2 differs by 1.3e-5 from Keras'."""

    def train():
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh")])
        model = models.VICReg(encoder, "8-8", probe=3)
        model.compile(PLAIN[name]())
        rng = np.random.RandomState(0)
        x = [np.asarray(rng.randn(32, 4), "float32") for _ in range(2)]
        batches = tf.data.Dataset.from_tensors((tuple(x), np.arange(32) % 3)).repeat(10)
        losses = model.fit(batches, epochs=2, verbose=0).history["loss"]
        # Not all weights: a bias before batch normalization follows rounding errors.
        return [losses, *(np.asarray(v) for v in (*model.encoder.weights, *model.probe.weights))]

    found, opened = train(), []
    monkeypatch.setattr(
        optimizer_steps, "fused", lambda o: opened.append(o) or contextlib.nullcontext()
    )
    expected = train()
    assert len(opened) == 2  # the method's optimizer and the probe's, while one step was traced
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
