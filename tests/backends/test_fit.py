"""`fit` on Keras' backend: micro-batches, options, callbacks, and bad input."""

import keras
import numpy as np
import pytest

from keras_ssl import callbacks, data, losses, models
from keras_ssl._keras import all_layers
from keras_ssl.inspection import Sample
from tests.conftest import quick_policy, tiny_encoder

pytestmark = pytest.mark.every_backend
array = keras.ops.convert_to_numpy


def make(method=models.VICReg, optimizer=None, encoder=None, **arguments):
    keras.utils.set_random_seed(0)
    model = method(encoder or tiny_encoder(), "9-8", probe=3, **arguments)
    model.compile(optimizer or keras.optimizers.AdamW(0.01))
    return model


def no_batch_statistics():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu", activity_regularizer="l2"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(6, kernel_regularizer="l2"),
        ]
    )


def head():
    return keras.layers.Dense(5)


def batches(count=3, rows=12):
    rng = np.random.RandomState(0)
    views = rng.uniform(size=(2, rows * count, 8, 8, 1)).astype("float32")
    return tuple(views), rng.randint(3, size=rows * count)


class TestMicroBatches:
    @pytest.mark.parametrize(
        "method", [models.VICReg, pytest.param(models.SimCLR, marks=pytest.mark.long)]
    )
    def test_they_are_the_whole_batch(self, method):
        found = []
        for size in (None, 4):
            keras.utils.set_random_seed(0)
            model = method(no_batch_statistics(), head(), probe=3, micro_batch_size=size)
            model.compile(keras.optimizers.SGD(0.1))
            x, y = batches()
            model.fit(x, y, batch_size=12, shuffle=False, verbose=0)
            found.append([array(v) for v in model.trainable_weights + model.probe.weights])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    def test_statistics_move_by_the_mean(self):
        model = make(micro_batch_size=4)
        x, y = batches(1)
        model.build((None, 8, 8, 1))
        inner = {type(layer): layer for layer in all_layers(model.encoder)}
        layer, conv = inner[keras.layers.BatchNormalization], inner[keras.layers.Conv2D]
        parts = [array(conv(v[k : k + 4])).mean((0, 1, 2)) for k in (0, 4, 8) for v in x]
        means = [0.9 * 0.1 * a + 0.1 * b for a, b in zip(parts[::2], parts[1::2], strict=True)]
        model.fit(x, y, batch_size=12, verbose=0)
        np.testing.assert_allclose(
            array(layer.moving_mean), np.mean(means, 0), rtol=1e-4, atol=1e-6
        )

    def test_a_partial_one_is_refused(self):
        model = make(micro_batch_size=5)
        x, y = batches(1)
        with pytest.raises(ValueError, match="`micro_batch_size` must divide the number of images"):
            model.fit(x, y, batch_size=12, verbose=0)

    @pytest.mark.parametrize("seed", [None, 1])
    def test_dropout_draws_the_same_in_both_passes(self, seed):
        """Otherwise the gradient would be that of another network. One part draws as the whole."""
        found = []
        for size in (None, 12):
            keras.utils.set_random_seed(0)
            layers = [
                keras.layers.Input((8, 8, 1)),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.5, seed=seed),
                keras.layers.Dense(6),
            ]
            model = models.SimCLR(keras.Sequential(layers), head(), micro_batch_size=size)
            model.compile(keras.optimizers.SGD(0.5))
            x, _ = batches()
            model.fit(x, batch_size=12, shuffle=False, verbose=0)
            found.append([array(v) for v in model.trainable_weights])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def test_losses_of_layers_are_left_out_of_an_evaluation(self):
        model = models.VICReg(no_batch_statistics(), head(), micro_batch_size=4)
        model.compile("sgd")
        x, _ = batches()
        found = model.evaluate(x, batch_size=12, return_dict=True, verbose=0)
        terms = sum(w * found[name] for name, w in model.criterion.weights.items())
        kernel = next(v for v in model.trainable_weights if v.path.endswith("dense/kernel"))
        assert found["loss"] == pytest.approx(terms + 0.01 * np.sum(array(kernel) ** 2), rel=1e-4)

    def test_metrics_of_layers_count_each_image_once(self):
        for size in (None, 4):
            encoder = keras.Sequential([keras.Input((8, 8, 1)), Counting(), tiny_encoder()])
            model = make(encoder=encoder, micro_batch_size=size)
            x, y = batches(2)
            logs = model.fit(x, y, batch_size=12, verbose=0, validation_data=(x, y)).history
            assert logs["images"] == logs["val_images"] == [48]  # 24, two views of each


@keras.saving.register_keras_serializable("tests")
class Counting(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.images = keras.metrics.Sum(name="images")

    def call(self, x):
        self.images.update_state(keras.ops.ones_like(x[:, 0, 0, 0]))
        return x


def test_the_default_of_jit_compile_is_no_choice_for_another_backend():
    """Otherwise a run that goes on on JAX would compute each operation by itself."""
    model = make()
    assert model.get_compile_config()["jit_compile"] == "auto"
    other = not model.jit_compile
    model.compile("sgd", jit_compile=other)
    assert model.get_compile_config()["jit_compile"] is other


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = make()
    x, y = batches()
    # The scale of the loss begins at 2**15: the first steps overflow, halve it and change nothing.
    history = model.fit(x, y, batch_size=12, epochs=5, verbose=0).history
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]


@pytest.mark.long
def test_options_of_compile_make_no_difference():
    x, y = batches(4)
    found = []
    options = [{}, {"run_eagerly": True}]
    if keras.backend.backend() != "torch":
        options += [{"jit_compile": True, "steps_per_execution": 2}]
    for option in options:
        model = make()
        model.compile(keras.optimizers.SGD(0.1), **option)
        model.fit(x, y, batch_size=12, shuffle=False, verbose=0)
        found.append([array(v) for v in model.trainable_weights])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_evaluate_and_predict():
    model = make()
    x, y = batches()
    model.fit(x, y, batch_size=12, verbose=0, validation_data=(x, y))
    found = model.evaluate(x, y, batch_size=12, return_dict=True, verbose=0)
    assert model.predict(x[0], verbose=0).shape == (36, 16)
    parts = make(micro_batch_size=4)
    parts.build((None, 8, 8, 1))
    parts.set_weights(model.get_weights())
    again = parts.evaluate(x, y, batch_size=12, return_dict=True, verbose=0)
    assert again["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_metrics_of_compile():
    from keras_ssl import duality

    model = make()
    model.compile("sgd", metrics=[duality.RankMe(8), "cosine_similarity"])
    x, y = batches()
    history = model.fit(x, y, batch_size=12, verbose=0).history
    assert 1 <= history["rank_me"][0] <= 8 and -1 <= history["cosine_similarity"][0] <= 1


@pytest.mark.long
def test_callbacks_look(images, tmp_path):
    views = data.make_views(images, quick_policy(), 16, seed=0)
    model = make()
    inspector = callbacks.EmbeddingInspector(images, quick_policy(), log_dir=tmp_path / "logs")
    doctor = callbacks.CollapseDoctor(inspector)
    checkpoint = callbacks.EpochCheckpoint(tmp_path / "checkpoints")
    judge = callbacks.EvaluationCallback(images, images)
    looks = [inspector, doctor, checkpoint, judge]
    history = model.fit(views, epochs=1, verbose=0, callbacks=looks).history
    assert inspector.latest.is_finite and 0 <= history["val_knn"][0] <= 1
    assert callbacks.latest_checkpoint(tmp_path / "checkpoints") is not None


class Scaled(models.SimCLR):
    """Compares embeddings times a weight, and counts how often its pairs are asked for."""

    asked = 0

    def build(self, input_shape):
        super().build(input_shape)
        self.factor = self.add_weight(shape=(), initializer="ones", trainable=False)

    def pairs(self, embeddings):
        self.asked += 1
        self.factor.assign(2 * self.factor)  # which is forgotten, as all that a look changes
        return super().pairs([z + self.factor for z in embeddings])


def test_looks_follow_the_weights_and_are_compiled_once():
    model, (views, _) = make(Scaled), batches(1)
    model.build(tuple(x.shape for x in views))
    sample = Sample.of(views)
    found = []
    for value in (1.0, 1.0, 5.0):
        model.factor.assign(value)
        asked, inspection = model.asked, sample.inspect(model)
        z = [keras.ops.convert_to_tensor(z, "float32") + 2 * value for z in inspection.embeddings]
        terms = {name: float(term) for name, term in model.criterion.measure(*z).items()}
        assert inspection.terms == pytest.approx(terms, rel=1e-4)
        assert model.factor == value
        found.append((inspection.gradient_norms, model.asked - asked))
    (first, _), (again, times), (other, _) = found
    assert first == pytest.approx(again) != pytest.approx(other)
    if keras.backend.backend() == "jax":
        assert times == 1  # for the inspection's own pairs, and not to compile the terms again


@pytest.mark.long
def test_a_teacher_follows_what_is_thawed(tmp_path):
    encoder = tiny_encoder()
    encoder.trainable = False
    model = models.BYOL(encoder, "9-8", hidden="5", momentum=0.5)
    x, _ = batches()
    found = []
    for is_trained in (False, True, True):
        for part in (model, *all_layers(encoder)):
            part.trainable = True  # The model's flag reaches the teacher's layers, too.
        for layer in all_layers(encoder):
            layer.trainable = is_trained
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(x, batch_size=12, shuffle=False, verbose=0)
        copy, original = (
            next(w for w in part.weights if "kernel" in w.path) for part in (model.teacher, encoder)
        )
        assert not model.teacher.trainable_weights
        found.append((array(copy), array(original)))
    (frozen, before), (once, _), (twice, after) = found
    np.testing.assert_array_equal(frozen, before)
    assert not np.array_equal(frozen, once) and not np.array_equal(once, twice)
    assert not np.array_equal(before, after)


def test_a_plain_keras_model_gets_checkpoints(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    checkpoint = callbacks.EpochCheckpoint(tmp_path, minutes=10)
    x = np.ones((8, 4), "float32")
    model.fit(x, x[:, :2], batch_size=4, verbose=0, callbacks=[checkpoint])
    again = keras.models.load_model(callbacks.latest_checkpoint(tmp_path))
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_label_outside_the_classes_shows():
    """As an error where values can be looked at, and as NaN where they cannot."""
    model = make()
    x, y = batches()
    if keras.backend.backend() == "jax":
        history = model.fit(x, y + 1, batch_size=12, verbose=0).history
        assert np.isnan(history["probe_loss"]).all() and np.isfinite(history["loss"]).all()
    else:
        with pytest.raises(ValueError, match="from 0 to 2.*Received: a label 3"):
            model.fit(x, y + 1, batch_size=12, verbose=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: tuple(np.round(v * 255) for v in x), "these look like bytes"),
        (lambda x: tuple((v * 255).astype("uint8") for v in x), "divide bytes by 255"),
        (lambda x: tuple(v[:, :, :, 0] for v in x), "Images must be"),
        (lambda x: x[0], "A batch must be"),
        (lambda x: tuple(v[..., [0, 0]] for v in x), "channels"),
    ],
)
def test_bad_views_are_refused(change, message):
    x, y = batches(1)
    with pytest.raises(ValueError, match=message):
        make().fit(change(x), y, batch_size=12, verbose=0)


def test_a_batch_that_is_refused_leaves_the_model_as_it_was():
    model = make()
    x, y = batches(1)
    model.fit(x, y, batch_size=12, verbose=0)
    before = model.get_weights()
    with pytest.raises(ValueError, match="must be integers from 0 to 2"):
        model.fit(x, y.astype("float32"), batch_size=12, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, batch_size=12, verbose=0)
    assert model.images_per_step == 12


class Broken(keras.utils.PyDataset):
    """Batches, of which the last one cannot be read."""

    def __init__(self, x, size):
        super().__init__()
        self.x, self.size = x, size

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 3:
            raise OSError("this batch cannot be read")
        rows = slice(i * self.size, (i + 1) * self.size)
        return keras.tree.map_structure(lambda x: x[rows], self.x)


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_source_that_fails_leaves_the_model_as_it_was(verb):
    model = make()
    x, y = batches()
    model.fit(x, y, batch_size=12, verbose=0)
    before = model.get_weights()
    source = Broken((x, y) if verb == "evaluate" else (x[0],), 12)
    with pytest.raises(Exception, match="this batch cannot be read"):
        getattr(model, verb)(source, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, batch_size=12, verbose=0)


def test_steps_per_epoch_of_batches_of_ones_own_are_refused():
    """Keras would go on within the epoch, and mix two of them."""
    x, y = batches()
    source = Broken((x, y), 12)
    source.epochs = data.Epochs()
    with pytest.raises(ValueError, match="`steps_per_epoch` must be None for batches whose number"):
        make().fit(source, epochs=2, steps_per_epoch=2, verbose=0)


class Impatient(models.VICReg):
    """Its user presses Ctrl-C while the first step is compiled."""

    is_interrupted = False

    def embed(self, views, training=False):
        if self.is_interrupted:
            raise KeyboardInterrupt
        return super().embed(views, training)


def test_ctrl_c_while_a_step_compiles_leaves_the_model_as_it_was():
    model = make(Impatient)
    x, y = batches(1)
    model.build((None, 8, 8, 1))
    before = model.get_weights()
    model.is_interrupted = True
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=12, verbose=0)
    model.is_interrupted = False
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, batch_size=12, verbose=0)


def test_a_frozen_predictor_is_frozen_in_a_file(tmp_path):
    model = models.BYOL(tiny_encoder(), "9-8", hidden="5")
    model.predictor.trainable = False
    model.compile("adam")
    x, _ = batches()
    model.fit(x, batch_size=12, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.predictor.trainable and loaded.projector.trainable
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    assert int(loaded.optimizer.iterations) == 3
    assert not any(inner.trainable for inner in all_layers(loaded.predictor))


@keras.saving.register_keras_serializable("tests")
class LateHead(models.SimCLR):
    """Makes a part when it is built, and makes itself from a config."""

    def build(self, input_shape):
        self.head = keras.layers.Dense(3, trainable=False)
        super().build(input_shape)

    def embed(self, views, training=False):
        representations, embeddings = super().embed(views, training)
        return representations, tuple(self.head(z) for z in embeddings)

    @classmethod
    def from_config(cls, config):
        parts = {k: keras.saving.deserialize_keras_object(v) for k, v in config.items()}
        return cls(**parts)


def test_a_part_that_is_made_late_is_frozen_in_a_file(tmp_path):
    model = LateHead(tiny_encoder(), "9-8")
    model.compile("adam")
    x, _ = batches(1)
    model.fit(x, batch_size=12, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.head.trainable and int(loaded.optimizer.iterations) == 1


def test_images_per_step_is_that_of_the_latest_fit():
    model = make()
    x, y = batches(4)
    for size in (12, 6, 12, 14):
        model.fit(x, y, batch_size=size, verbose=0)
        assert model.images_per_step == size


def test_a_last_batch_of_one_image_is_refused_before_training():
    model = make()
    x, y = batches()  # 36 rows
    for arguments in ({"batch_size": 5}, {"batch_size": 8, "validation_split": 0.3}):
        with pytest.raises(ValueError, match="the last one would hold 1"):
            model.fit(x, y, verbose=0, **arguments)
    assert int(model.optimizer.iterations) == 0
    model.fit(x, y, batch_size=5, steps_per_epoch=3, verbose=0)


def test_weights_of_validation_samples_are_refused_before_training():
    model = make()
    x, y = batches()
    with pytest.raises(ValueError, match="`sample_weight` has no meaning"):
        model.fit(x, y, batch_size=12, verbose=0, validation_data=(x, y, np.ones(36)))
    assert int(model.optimizer.iterations) == 0


def test_a_criterion_of_other_terms_is_refused():
    model = make()
    model.criterion = losses.BarlowTwinsLoss()
    model.compile("sgd")
    x, y = batches(1)
    with pytest.raises(ValueError, match="`criterion` was replaced by one with other terms"):
        model.fit(x, y, batch_size=12, verbose=0)


def test_predictions_of_batches_without_views(images):
    model = make(views=quick_policy())
    batches_of_images = data.make_batches(images, 16)
    model.fit(batches_of_images, verbose=0)
    found = model.predict(batches_of_images, verbose=0)
    assert found.shape == (len(images) // 16 * 16, model.encoder.output_shape[-1])


def test_metrics_see_batches_of_make_views(images):
    model = make()
    model.compile("sgd", metrics=["cosine_similarity"])
    views = data.make_views(images, quick_policy(), 16)
    assert "cosine_similarity" in model.fit(views, verbose=0).history


def test_accumulated_gradients_are_refused():
    model = make(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    x, y = batches(1)
    with pytest.raises(ValueError, match="`gradient_accumulation_steps` must be None"):
        model.fit(x, y, batch_size=12, verbose=0)
