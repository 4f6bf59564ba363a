import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import callbacks, data, duality, layers, losses, models
from tests.catalog import METHODS
from tests.conftest import quick_policy, tiny_encoder

pytestmark = pytest.mark.usefixtures("eagerly")


def _model(**kwargs):
    model = models.VICReg(tiny_encoder(), "8-6", **kwargs)
    model.compile(keras.optimizers.SGD(0.01))
    return model


def _fit(model, views, epochs=2, **kwargs):
    return model.fit(views, steps_per_epoch=3, epochs=epochs, verbose=0, shuffle=False, **kwargs)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["eagerly", pytest.param("in_graphs", marks=pytest.mark.slow)])
def test_the_probe_leaves_the_encoder_bit_identical(views, mode, request):
    request.getfixturevalue(mode)
    weights = []
    for probe in (None, 3):
        keras.utils.set_random_seed(1)
        model = _model(probe=probe)
        _fit(model, views)
        weights.append(model.encoder.get_weights() + model.projector.get_weights())
    for without, having in zip(*weights, strict=True):
        np.testing.assert_array_equal(without, having)


def test_the_probe_learns_and_the_optimizer_does_not_touch_it(views, in_graphs):
    model = _model(probe=layers.OnlineProbe(3, keras.optimizers.Adam(0.05)))
    history = _fit(model, views, epochs=12).history
    assert history["probe_loss"][-1] < 0.8 * history["probe_loss"][0]
    assert np.abs(model.probe.kernel).max() > 0
    slots = {v.path for v in model.optimizer.variables}
    assert not any("probe" in path for path in slots)


@pytest.mark.long
def test_the_probe_may_have_labeled_images_of_its_own(images):
    keras.utils.set_random_seed(0)
    model = _model(probe=3)
    unlabeled = images.without_labels()
    views = data.make_views(unlabeled, quick_policy(), 16, probe_images=images)
    history = _fit(model, views, epochs=1).history
    assert np.abs(model.probe.kernel).max() > 0 and np.isfinite(history["probe_loss"][0])
    # The moving statistics come only from the views.
    keras.utils.set_random_seed(0)
    plain = _model()
    _fit(plain, data.make_views(unlabeled, quick_policy(), 16), epochs=1)
    for a, b in zip(model.encoder.get_weights(), plain.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_first_step_is_traced_once_and_reads_the_schedule_once(views, in_graphs):
    calls = {"step": 0, "schedule": 0}

    class Counted(models.VICReg):
        def train_step(self, data):
            calls["step"] += 1
            return super().train_step(data)

    class Falling(keras.optimizers.schedules.ExponentialDecay):
        def __call__(self, step):
            calls["schedule"] += not tf.executing_eagerly()  # `fit` looks at its end, too.
            return super().__call__(step)

    model = Counted(tiny_encoder(), "8-6", probe=3)
    model.compile(keras.optimizers.AdamW(Falling(0.01, 1, 0.5), weight_decay=0.1))
    _fit(model, views, epochs=1)
    assert calls == {"step": 1, "schedule": 1}
    assert isinstance(model.optimizer.get_config()["learning_rate"], dict)
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.01 * 0.5**3, rtol=1e-6)


def test_the_probes_gradient_is_that_of_the_cross_entropy():
    rng = np.random.RandomState(0)
    features, labels = rng.randn(6, 4).astype("float32"), np.array([0, 1, 2, 2, 1, 0])
    probe = layers.OnlineProbe(3, keras.optimizers.SGD(1.0))
    probe.build((None, 4))
    probe.kernel.assign(rng.randn(4, 3))
    kernel, bias = tf.constant(probe.kernel), tf.constant(probe.bias)
    with tf.GradientTape() as tape:
        tape.watch([kernel, bias])
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(
                labels, features @ kernel + bias, from_logits=True
            )
        )
    gradients = tape.gradient(loss, [kernel, bias])
    probe.train_step(features, labels)
    np.testing.assert_allclose(kernel - gradients[0], probe.kernel, atol=1e-6)
    np.testing.assert_allclose(bias - gradients[1], probe.bias, atol=1e-6)


def test_predict_gives_representations_in_the_structure_of_its_input(images):
    model = _model()
    batch = next(iter(images.batches(8)))[0]
    assert model.predict(batch, verbose=0).shape == (8, 16)
    pair = model((batch, batch))
    assert isinstance(pair, tuple) and pair[0].shape == (8, 16)
    np.testing.assert_array_equal(model.predict(batch, verbose=0), model.encoder.predict(batch))


def test_evaluate_measures_without_training(views):
    model = _model(probe=3)
    _fit(model, views)
    before = [w.copy() for w in model.get_weights()]
    figures = model.evaluate(views, steps=3, verbose=0, return_dict=True)
    assert set(figures) >= {"loss", "invariance", "variance", "covariance", "probe_accuracy"}
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_logged_loss_is_the_weighted_sum_of_the_logged_terms(views):
    model = _model()
    logs = _fit(model, views, epochs=1).history
    total = sum(w * logs[name][0] for name, w in model.criterion.weights.items())
    assert logs["loss"][0] == pytest.approx(total, rel=1e-5)


def test_summary_counts_encoder_and_projector(images):
    model = _model()
    model.build((None, 8, 8, 1))
    lines = []
    model.summary(print_fn=lines.append)
    assert "projector" in "\n".join(lines)
    assert model.count_params() == model.encoder.count_params() + model.projector.count_params()


@pytest.mark.long
def test_stock_callbacks(views, in_graphs, tmp_path):
    model = _model()
    model.build((None, 8, 8, 1))  # BackupAndRestore needs it.
    _fit(
        model,
        views,
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.EarlyStopping(monitor="loss", patience=5),
            keras.callbacks.TensorBoard(tmp_path / "tensorboard"),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ],
    )
    assert isinstance(keras.models.load_model(tmp_path / "best.keras"), models.VICReg)
    assert "invariance" in (tmp_path / "log.csv").read_text()
    assert list((tmp_path / "tensorboard").rglob("events.*"))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, views):
    keras.config.set_dtype_policy(policy)
    model = _model(probe=3)
    history = _fit(model, views, epochs=1).history
    assert all(np.isfinite(values[0]) for values in history.values())
    half = policy.removeprefix("mixed_")
    assert model.encoder.compute_dtype == half and model.projector.compute_dtype == half
    assert model.probe.kernel.dtype == "float32"
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_compiles_as_a_tpu_would_want_it(views, in_graphs, method):
    """All shapes are static, in one program. More cannot be shown of TPUs without one."""
    views = views.unbatch().batch(16, drop_remainder=True)
    losses_of = {}
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = METHODS[method](tiny_encoder(), "16-8", probe=3)
        model.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
        history = model.fit(views, steps_per_epoch=4, shuffle=False, verbose=0)
        losses_of[jit_compile] = history.history["loss"]
    assert losses_of[True] == pytest.approx(losses_of[False], rel=1e-3)


@pytest.mark.slow
def test_jit_compile_gives_the_same_training(views, in_graphs):
    losses_by_mode = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(2)
        model = models.SimCLR(tiny_encoder(), "8-6")
        model.compile(
            keras.optimizers.SGD(0.01), jit_compile=jit_compile, run_eagerly=not jit_compile
        )
        losses_by_mode.append(_fit(model, views).history["loss"])
    np.testing.assert_allclose(*losses_by_mode, rtol=1e-4)


def test_layer_regularizers_join_the_loss(views):
    encoder = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(1.0)),
        ]
    )
    model = models.VICReg(encoder, "6")
    _, embeddings = model.embed(next(iter(views))[0], training=True)
    plain = float(model.criterion(*embeddings))
    penalty = float(np.sum(np.square(encoder.layers[-1].kernel)))
    assert float(model.compute_loss(y_pred=embeddings)) == pytest.approx(plain + penalty, rel=1e-5)


class TestBadInput:
    @pytest.mark.parametrize(
        ("build", "error", "message"),
        [
            (
                lambda: models.JointEmbeddingModel(tiny_encoder()),
                ValueError,
                "`projector` and `crit",
            ),
            (
                lambda: models.VICReg(tiny_encoder(), criterion="vicreg"),
                TypeError,
                "`criterion`.*'vicreg'",
            ),
            (lambda: models.VICReg(tiny_encoder(), probe="yes"), TypeError, "`probe`.*'yes'"),
            (lambda: models.VICReg(tiny_encoder(), probe=1), ValueError, "`num_classes`.*2"),
            (lambda: models.VICReg(tiny_encoder(), "8-x"), ValueError, "`widths`.*'8-x'"),
        ],
    )
    def test_construction(self, build, error, message):
        with pytest.raises(error, match=message):
            build()

    def test_a_batch_without_views(self, images):
        with pytest.raises(ValueError, match=r"view_1, view_2.*make_views.*\(16, 8, 8, 1\)"):
            _model().fit(images.batches(16), verbose=0, shuffle=False)

    def test_a_probe_without_labels(self, views):
        with pytest.raises(ValueError, match="probe needs labels"):
            _fit(_model(probe=3), views.map(lambda pair, _: (pair,)))

    def test_a_last_batch_of_one_image_breaks_nothing(self, views):
        model = _model()
        pair, _ = next(iter(views))
        nine = tuple(np.asarray(view)[:9] for view in pair)
        with pytest.raises(ValueError, match="at least 2 images"):
            model.fit(nine, batch_size=8, verbose=0, shuffle=False)
        assert all(np.isfinite(w).all() for w in model.get_weights())

    def test_an_accuracy_given_to_compile(self, views):
        model = models.VICReg(tiny_encoder(), "8-6")
        model.compile("sgd", metrics=["accuracy"])
        with pytest.raises(ValueError, match="not labels.*pass `probe`.*'accuracy'"):
            _fit(model, views)

    def test_a_loss_given_to_compile(self, views):
        model = models.VICReg(tiny_encoder(), "8-6")
        model.compile("sgd", loss="mse")
        with pytest.raises(ValueError, match="criterion is the loss.*'mse'"):
            _fit(model, views)


def test_compiled_metrics_see_the_embeddings_of_both_views(views):
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", metrics=["cosine_similarity", duality.DualityMonitor(6)])
    logs = model.evaluate(views, steps=3, verbose=0, return_dict=True)
    z_1, z_2 = (np.concatenate(z) for z in zip(*_embeddings(model, views), strict=True))
    cosines = np.sum(z_1 * z_2, axis=1) / np.linalg.norm(z_1, axis=1) / np.linalg.norm(z_2, axis=1)
    assert logs["cosine_similarity"] == pytest.approx(cosines.mean(), rel=1e-5)
    expected = duality.sample_contrastive_energy(z_1.astype("float64"))
    assert logs["l_c"] == pytest.approx(float(expected), rel=1e-5)


def test_quantities_of_samples_count_each_image_once(views):
    model = models.SimSiam(tiny_encoder(), "8-6", hidden="4")
    model.compile("sgd", metrics=["cosine_similarity", duality.NegativePairVariance(6)])
    logs = model.evaluate(views, steps=3, verbose=0, return_dict=True)
    p_1, p_2, z_1, z_2 = (np.concatenate(z) for z in zip(*_embeddings(model, views), strict=True))
    metric = duality.NegativePairVariance(6)
    metric.update_state(p_1)
    assert logs["negative_pair_variance"] == pytest.approx(float(metric.result()), rel=1e-4)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p_1, z_2, p_2, z_1)]
    cosines = np.sum(unit[0] * unit[1], axis=1), np.sum(unit[2] * unit[3], axis=1)
    assert logs["cosine_similarity"] == pytest.approx(np.mean(cosines), rel=1e-4)


def _embeddings(model, views):
    for pair, _ in views.take(3):
        yield [np.asarray(z) for z in model.embed(pair)[1]]


def test_a_non_finite_loss_stops_with_a_diagnosis_and_keeps_the_checkpoint(views, tmp_path):
    @keras.saving.register_keras_serializable(package="test")
    class BreaksLate(losses.VICRegLoss):
        def terms(self, z_1, z_2):
            terms = super().terms(z_1, z_2)
            # Python cannot count the steps of a graph, but a variable can.
            broken = tf.where(model.optimizer.iterations >= 4, np.nan, 0.0)
            return {**terms, "variance": terms["variance"] + broken}

    model = _model(criterion=BreaksLate())
    with pytest.raises(callbacks.NonFiniteLossError, match="step 2 of epoch 2: loss, variance"):
        _fit(
            model,
            views,
            callbacks=[
                callbacks.StopOnNonFinite(),
                callbacks.EpochCheckpoint(tmp_path),
            ],
        )
    (kept,) = callbacks.checkpoints(tmp_path)
    assert callbacks.epochs_done(kept) == 1
    again = keras.models.load_model(kept, compile=False)
    assert all(np.isfinite(w).all() for w in again.get_weights())
