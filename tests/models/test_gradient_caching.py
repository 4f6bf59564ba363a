"""Checks that micro-batches give the gradient of the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import losses, models, optimizers
from tests.conftest import tiny_encoder


def _plain_encoder():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, kernel_regularizer="l2", activity_regularizer="l2"),
        ]
    )


def _train(views, micro_batch_size, encoder=_plain_encoder, steps=3, method=None, **options):
    keras.utils.set_random_seed(0)
    optimizer = options.pop("optimizer", None) or keras.optimizers.SGD(0.1)
    jit_compile = options.pop("jit_compile", False)
    # The whole batch runs eagerly, which is quickest, and its parts run in a graph, as they do for
    # a user.
    run_eagerly = options.pop("run_eagerly", micro_batch_size is None)
    model = (method or models.SimCLR)(
        encoder(),
        options.pop("projector", None) or keras.layers.Dense(6),
        probe=3,
        micro_batch_size=micro_batch_size,
        **options,
    )
    model.compile(optimizer, jit_compile=jit_compile, run_eagerly=run_eagerly)
    history = model.fit(views, steps_per_epoch=steps, shuffle=False, verbose=0).history
    return model, {name: values[-1] for name, values in history.items()}


def _assert_same_weights(model, other, rtol=1e-5):
    assert len(model.variables) == len(other.variables)
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        a, b = (keras.ops.convert_to_numpy(v) for v in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6, err_msg=ours.path)


@pytest.mark.parametrize(
    ("method", "size"),
    [
        (models.SimCLR, 2),
        (models.VICReg, 8),
        pytest.param(models.TCR, 16, marks=pytest.mark.slow),
    ],
)
def test_trains_as_the_whole_batch_does(views, method, size):
    whole, logs = _train(views, None, method=method)
    parts, part_logs = _train(views, size, method=method)
    _assert_same_weights(whole, parts)
    # The activity regularizer is trained, but the logged loss leaves it out.
    logs.pop("loss"), part_logs.pop("loss")
    assert part_logs == pytest.approx(logs, rel=1e-4)


@pytest.mark.long
def test_a_short_batch_is_cut_into_micro_batches_too(views):
    odd = views.unbatch().take(21).batch(16)  # 16 and 5 images
    whole, parts = (_train(odd, size, steps=2)[0] for size in (None, 4))
    _assert_same_weights(whole, parts)


@pytest.mark.slow
def test_compiled_by_xla_with_lars(views):
    views = views.unbatch().batch(16, drop_remainder=True)  # XLA needs a known size.
    (whole, _), (parts, _) = (
        _train(views, size, optimizer=optimizers.LARS(0.5), jit_compile=size is not None)
        for size in (None, 4)
    )
    _assert_same_weights(whole, parts, rtol=1e-4)


@pytest.mark.long
def test_batch_statistics_are_those_of_replicas_that_are_not_synchronized(views):
    pair = next(iter(views))[0]
    model, _ = _train(views, 4, tiny_encoder, steps=1)
    # The same model, with the step written out.
    keras.utils.set_random_seed(0)
    reference = models.SimCLR(tiny_encoder(), keras.layers.Dense(6), probe=3)
    reference.build((None, 8, 8, 1))
    start = [tf.identity(v.value) for v in reference.encoder.non_trainable_variables]
    moved = []
    with tf.GradientTape() as tape:
        embeddings = []
        for k in range(4):
            for v, value in zip(reference.encoder.non_trainable_variables, start, strict=True):
                v.assign(value)
            micro_batch = tuple(view[4 * k : 4 * k + 4] for view in pair)
            embeddings.append(reference.embed(micro_batch, training=True)[1])
            moved.append([v.numpy() for v in reference.encoder.non_trainable_variables])
        loss = reference.criterion(*(tf.concat(z, axis=0) for z in zip(*embeddings, strict=True)))
    weights = [w.value for w in reference.trainable_weights]
    gradients = tape.gradient(loss, weights)
    for trained, weight, gradient in zip(model.trainable_weights, weights, gradients, strict=True):
        np.testing.assert_allclose(trained.numpy(), weight - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    # Moving averages are updated once, with the mean over the micro-batches.
    for v, values in zip(
        model.encoder.non_trainable_variables, zip(*moved, strict=True), strict=True
    ):
        np.testing.assert_allclose(v.numpy(), np.mean(values, axis=0), rtol=1e-5, atol=1e-7)


@keras.saving.register_keras_serializable(package="tests")
class SumOfEmbeddings(losses.Criterion):
    """A loss that is linear in the embeddings, so that its gradient does not depend on them."""

    @property
    def weights(self):
        return {"total": 1.0}

    def terms(self, z_1, z_2):
        return {"total": keras.ops.sum(z_1) + keras.ops.sum(z_2)}


@pytest.mark.long
def test_random_layers_draw_the_same_in_both_passes(views):
    def projector():
        return keras.Sequential(
            [keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(6, use_bias=False)]
        )

    def encoder():
        return keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten()])

    options = {"criterion": SumOfEmbeddings(), "projector": projector()}
    before, _ = _train(views, 4, encoder, steps=1, optimizer=keras.optimizers.SGD(0.0), **options)
    kernel = before.trainable_weights[0].numpy()
    options["projector"] = projector()
    after, logs = _train(views, 4, encoder, steps=1, optimizer=keras.optimizers.SGD(1.0), **options)
    gradient = kernel - after.trainable_weights[0].numpy()
    # The loss of the first pass is linear in the kernel. The product of the kernel and the gradient
    # of the second pass equals it only if both passes dropped the same units.
    assert np.sum(gradient * kernel) == pytest.approx(logs["total"], rel=1e-4)
    # Another step draws other numbers.
    assert np.asarray(after.projector.layers[0].seed_generator.state)[1] > 0


@pytest.mark.slow  # Replicas' slow tests are like it.
def test_half_precision_is_scaled(views):
    keras.config.set_dtype_policy("mixed_float16")
    (whole, _), (parts, logs) = (_train(views, size, steps=6) for size in (None, 4))
    assert isinstance(parts.optimizer, keras.optimizers.LossScaleOptimizer)
    for variable in ("iterations", "dynamic_scale"):
        ours, theirs = (float(getattr(m.optimizer, variable)) for m in (parts, whole))
        assert ours == theirs > 2  # After the same number of skipped steps.
    assert np.isfinite(logs["loss"])
    _assert_same_weights(whole, parts, rtol=0.02)


@pytest.mark.long
def test_survives_a_config_and_evaluates_in_parts(views):
    model, _ = _train(views, 4, run_eagerly=True)
    again = models.SimCLR.from_config(model.get_config())
    assert again.micro_batch_size == 4
    figures = model.evaluate(views, steps=2, verbose=0, return_dict=True)
    model.micro_batch_size = None
    model.compile("sgd", run_eagerly=True)
    whole = model.evaluate(views, steps=2, verbose=0, return_dict=True)
    for name in ("alignment", "contrast", "probe_loss"):
        assert figures[name] == pytest.approx(whole[name], rel=1e-5)


def test_a_size_that_does_not_fit_is_named(views):
    with pytest.raises(ValueError, match="micro_batch_size=5, 16 images"):
        _train(views.unbatch().batch(16, drop_remainder=True), 5)
    with pytest.raises(ValueError, match="`micro_batch_size`"):
        models.SimCLR(tiny_encoder(), "4-4", micro_batch_size=0)


def test_sequences_whose_length_is_known_in_the_graph():
    """As `padded_batch` makes them."""

    def encoder():
        steps = keras.Input((None, 3))
        return keras.Model(steps, keras.layers.GlobalAveragePooling1D()(steps))

    rows = np.random.RandomState(0).rand(8, 5, 3).astype("float32")
    spec = (tf.TensorSpec((8, None, 3)),) * 2, tf.TensorSpec((8,), tf.int64)
    batch = (rows, rows[::-1]), np.arange(8) % 3
    views = tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=spec)
    whole, parts = (_train(views, size, encoder, steps=1)[0] for size in (None, 4))
    _assert_same_weights(whole, parts)


class Center(keras.layers.Layer):
    """Subtracts what has been seen so far, as the center of DINO does."""

    def build(self, shape):
        self.center = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x, training=False):
        outputs = x - self.center
        if training:
            self.center.assign(self.center + 0.5)
        return outputs


def test_a_micro_batch_does_not_see_what_another_one_has_changed(views):
    def encoder():
        return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), Center()])

    whole, parts = (_train(views, size, encoder, steps=2)[0] for size in (None, 4))
    _assert_same_weights(whole, parts)
