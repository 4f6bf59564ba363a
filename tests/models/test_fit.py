"""Tests of `fit`: it ends and continues epochs, and refuses bad input before it trains anything."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data, models, optimizers
from keras_ssl.training import fitting
from tests.conftest import quick_policy


@pytest.fixture(scope="module")
def own_views():
    """Epochs of three batches of 16, with labels; made once, because the graph takes a second."""
    pixels = np.random.RandomState(0).randint(0, 256, (48, 8, 8, 1)).astype("uint8")
    return data.make_views(data.from_arrays(pixels, np.arange(48) % 3), quick_policy(), 16, seed=3)


def _encoder():
    """Makes an encoder with few operations that has batch statistics."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(8),
            layers.BatchNormalization(momentum=0.9),
        ]
    )


def _model(probe=None, run_eagerly=True):
    keras.utils.set_random_seed(1)
    model = models.VICReg(_encoder(), keras.layers.Dense(6), probe=probe)
    # Graphs take seconds to trace, and other tests show that they make no difference.
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=run_eagerly)
    return model


def _assert_same(model, other):
    for a, b in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)


class _Stop(keras.callbacks.Callback):
    """Acts like a process that is killed before a given step of an epoch, from 0."""

    def __init__(self, epoch, step):
        super().__init__()
        self.at = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(own_views):
    """A model that was trained for three epochs without a break, and its history."""
    model = _model(probe=3)
    return model, model.fit(own_views, epochs=3, verbose=0).history


class TestEpochs:
    @pytest.mark.long
    def test_an_epoch_ends_where_the_images_end(self, own_views):
        steps = []

        class Count(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                assert self.params["steps"] == 3  # The progress bar knows it from the start.
                steps.append(0)

            def on_train_batch_end(self, batch, logs=None):
                steps[-1] += 1

        _model().fit(own_views, epochs=2, verbose=0, callbacks=[Count()])
        assert steps == [3, 3]

    def test_initial_epoch_goes_on_with_that_epochs_own_data(self, own_views, whole):
        model = _model(probe=3)
        model.fit(own_views, epochs=1, verbose=0)
        model.fit(own_views, epochs=3, initial_epoch=1, verbose=0)
        _assert_same(model, whole[0])

    @pytest.mark.long
    def test_another_fit_begins_with_the_first_epoch_again(self, own_views):
        seen = []

        class Labels(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                seen.append(np.concatenate([labels for _, labels in own_views]))

        model = _model()
        for _ in range(2):
            model.fit(own_views, epochs=2, verbose=0, callbacks=[Labels()])
        np.testing.assert_array_equal(seen[0], seen[2])
        np.testing.assert_array_equal(seen[1], seen[3])
        assert (seen[0] != seen[1]).any()
        assert own_views.epochs.held is None  # No fit holds it any longer.

    @pytest.mark.long
    def test_backup_and_restore_is_exact(self, own_views, whole, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            backup = keras.callbacks.BackupAndRestore(tmp_path)
            _model(probe=3).fit(own_views, epochs=3, verbose=0, callbacks=[backup, _Stop(2, 0)])
        model, backup = _model(probe=3), keras.callbacks.BackupAndRestore(tmp_path)
        model.fit(own_views, epochs=3, verbose=0, callbacks=[backup])
        _assert_same(model, whole[0])
        # Another fit begins where it should; Keras would begin where this one was restored.
        assert len(model.fit(own_views, epochs=3, verbose=0).epoch) == 3

    @pytest.mark.parametrize("epoch", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_a_model_saved_within_an_epoch_goes_on_exactly(self, own_views, whole, epoch, tmp_path):
        model = _model(probe=3)
        with pytest.raises(KeyboardInterrupt):
            model.fit(own_views, epochs=3, verbose=0, callbacks=[_Stop(epoch, 2)])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        begins, ends, steps = [], [], []
        told = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: begins.append(1),
            on_train_end=lambda logs: ends.append(1),
            on_train_batch_end=lambda step, logs: steps.append(step),
        )
        history = again.fit(
            own_views, epochs=3, initial_epoch=epoch, initial_step=2, verbose=0, callbacks=[told]
        )
        _assert_same(again, whole[0])
        assert history.epoch == list(range(epoch, 3)) and begins == ends == [1]
        assert steps == ([2] if epoch == 2 else [2, 0, 1, 2])
        for name, values in whole[1].items():
            assert history.history[name] == values[epoch:], name

    def test_averages_of_weights_go_on_too(self, own_views, tmp_path):
        """Keras puts them in the place of the weights when a fit ends; only the last one does."""

        def make():
            keras.utils.set_random_seed(1)
            model = models.VICReg(_encoder(), keras.layers.Dense(6))
            optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
            model.compile(optimizer, run_eagerly=True)
            return model

        whole, model = make(), make()
        whole.fit(own_views, epochs=3, verbose=0)
        with pytest.raises(KeyboardInterrupt):
            model.fit(own_views, epochs=3, verbose=0, callbacks=[_Stop(1, 2)])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        again.fit(own_views, epochs=3, initial_epoch=1, initial_step=2, verbose=0)
        _assert_same(again, whole)
        # If a callback stops it within that epoch, this is its end.
        stopped = keras.models.load_model(tmp_path / "model.keras")
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(stopped, "stop_training", True)
        )
        stopped.fit(
            own_views, epochs=3, initial_epoch=1, initial_step=2, verbose=0, callbacks=[stop]
        )
        average = next(v for v in stopped.optimizer.variables if "average" in v.path)
        np.testing.assert_array_equal(stopped.trainable_weights[0], average)

    @pytest.mark.long
    @pytest.mark.parametrize(
        "ending", [".keras", pytest.param(".weights.h5", marks=pytest.mark.slow)]
    )
    def test_random_layers_go_on_too(self, own_views, ending, tmp_path):
        def make():
            keras.utils.set_random_seed(1)
            noisy = keras.Sequential([_encoder(), keras.layers.Dropout(0.5)])
            model = models.VICReg(noisy, keras.layers.Dense(6))
            model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
            model.build((None, 8, 8, 1))
            return model

        pair = make(), make()
        pair[0].fit(own_views, epochs=2, verbose=0)
        pair[1].fit(own_views, epochs=1, verbose=0)
        if ending == ".keras":
            pair[1].save(tmp_path / "model.keras")
            again = keras.models.load_model(tmp_path / "model.keras")
        else:
            pair[1].optimizer.build(pair[1].trainable_variables)
            pair[1].save_weights(tmp_path / "model.weights.h5")
            again = make()
            again.optimizer.build(again.trainable_variables)
            again.load_weights(tmp_path / "model.weights.h5")
        again.fit(own_views, epochs=2, initial_epoch=1, verbose=0)
        _assert_same(again, pair[0])

    @pytest.mark.long
    @pytest.mark.parametrize(
        "derive",
        [
            lambda v: v.map(lambda *b: b),
            pytest.param(lambda v: v.take(3), marks=pytest.mark.slow),
        ],
        ids=["map", "take"],
    )
    def test_what_is_made_of_views_keeps_their_epochs(self, own_views, whole, derive):
        model = _model(probe=3)
        model.fit(own_views, epochs=2, verbose=0)
        model.fit(derive(own_views), epochs=3, initial_epoch=2, verbose=0)
        _assert_same(model, whole[0])

    @pytest.mark.long
    def test_evaluate_and_validation_data_see_one_epoch(self, own_views):
        model = _model()
        history = model.fit(own_views, epochs=2, verbose=0, validation_data=own_views).history
        figures = model.evaluate(own_views, verbose=0, return_dict=True)
        assert figures == model.evaluate(own_views, verbose=0, return_dict=True)
        assert figures["loss"] == pytest.approx(history["val_loss"][1], rel=1e-6)

    @pytest.mark.long
    def test_any_source_may_keep_the_contract(self, own_views, whole):
        class Source(keras.utils.PyDataset):
            """The same batches, which Keras cannot recognize as tf.data."""

            epochs = own_views.epochs

            def __len__(self):
                return 3

            @functools.cache  # noqa: B019 (a pass over the views takes a second)
            def batches(self, epoch):
                return list(own_views)

            def __getitem__(self, step):
                return self.batches(own_views.epochs.held)[step]

        model = _model(probe=3)
        model.fit(own_views, epochs=2, verbose=0)
        other = _model(probe=3)
        other.fit(own_views, epochs=2, verbose=0)
        model.fit(Source(), epochs=3, initial_epoch=2, verbose=0, shuffle=False)
        # Batches of unknown size use other kernels, which round differently.
        for a, b in zip(model.weights, whole[0].weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        other.fit(Source(), verbose=0, shuffle=False)  # A different epoch would be noticed.
        assert np.abs(other.weights[0] - whole[0].weights[0]).max() > 1e-5

    @pytest.mark.long
    def test_a_schedule_that_is_over_is_said(self, own_views):
        model = _model()
        schedule = optimizers.warmup_cosine(0.1, 16, 3, 2, 1)
        model.compile(keras.optimizers.SGD(schedule), run_eagerly=True)
        model.fit(own_views, epochs=2, verbose=0)
        with pytest.warns(UserWarning, match="learning rate is 0 in every step.*done 6 steps"):
            model.fit(own_views, epochs=2, verbose=0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (dict(steps_per_epoch=4), "`steps_per_epoch` must be None.*up to.*=4.*3 batches"),
            (dict(steps_per_epoch=0), "`steps_per_epoch` must be None.*=0"),
            (dict(steps_per_epoch=1.5), "`steps_per_epoch` must be None.*=1.5"),
            (dict(class_weight={0: 1.0}), "`class_weight` has no meaning"),
            (dict(sample_weight=np.ones(48)), "`sample_weight` has no meaning"),
            (dict(epochs=1.5), "`epochs` must be a whole number.*1.5"),
            (dict(epochs=-1), "`epochs` must be a whole number.*-1"),
            (dict(initial_epoch=-1), "`initial_epoch` must be a whole number.*-1"),
            (dict(initial_step=3), "`initial_step` must be the number of a batch.*=3"),
            (dict(initial_step=-1), "`initial_step`.*-1"),
            (dict(initial_step=1, epochs=0), "`epochs` must be above initial_epoch"),
        ],
    )
    def test_of_arguments(self, own_views, arguments, message):
        with pytest.raises(ValueError, match=message):
            _model().fit(own_views, verbose=0, **arguments)

    def test_of_epochs_that_never_end(self, own_views):
        with pytest.raises(ValueError, match="epochs that end.*repeat"):
            _model().fit(own_views.repeat(), verbose=0)
        some = own_views.filter(lambda *batch: True)
        some.epochs = own_views.epochs
        with pytest.raises(ValueError, match="known number.*assert_cardinality.*of -2"):
            _model().fit(some, verbose=0)

    def test_of_bytes_to_evaluate_on(self, own_views):
        pixels = np.full((16, 8, 8, 1), 255.0, "float32")
        with pytest.raises(ValueError, match="look like bytes"):
            _model().fit(own_views, validation_data=((pixels, pixels), None), verbose=0)

    def test_of_an_optimizer_that_would_train_another_loss(self, own_views):
        model = _model()
        model.compile(keras.optimizers.SGD(0.01, gradient_accumulation_steps=2))
        with pytest.raises(ValueError, match="`gradient_accumulation_steps`.*`micro_batch_size`"):
            model.fit(own_views, verbose=0)

    def test_of_images_without_views(self, images):
        for x in (images, data.Splits(images, None)):
            for method in ("fit", "evaluate"):
                with pytest.raises(TypeError, match="`x` must be batches of views.*make_views"):
                    getattr(_model(), method)(x)

    @pytest.mark.long
    def test_steps_as_many_as_there_are_may_be_named(self, own_views, whole):
        model = _model(probe=3)
        model.fit(own_views, epochs=3, steps_per_epoch=3, shuffle=False, verbose=0)
        _assert_same(model, whole[0])

    @pytest.mark.long
    def test_fewer_are_the_first_of_every_epoch(self, own_views):
        pair = _model(), _model()
        pair[0].fit(own_views, epochs=2, steps_per_epoch=2, verbose=0)
        pair[1].fit(own_views.take(2), epochs=2, verbose=0)
        _assert_same(*pair)


def _sources(values):
    """Yields the same two batches of pairs in every form that `fit` takes."""

    class Source(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, step):
            return ((values[:16], values[16:]),)

    return {
        "arrays": (np.tile(values, (2, 1, 1, 1)),) * 2,
        "dataset": tf.data.Dataset.from_tensors(((values[:16], values[16:]),)).repeat(2),
        "sequence": Source(),
        "generator": (((values[:16], values[16:]),) for _ in range(2)),
    }


SOURCES = ("arrays", "dataset", "sequence", "generator")


@pytest.mark.parametrize("kind", SOURCES)
class TestRange:
    def test_floats_that_look_like_bytes_are_refused(self, kind):
        pixels = np.random.RandomState(0).uniform(0, 255, (32, 8, 8, 1)).astype("float32")
        for method in ("fit", "evaluate"):
            with pytest.raises(ValueError, match="look like bytes.*255.*check_range.*floats from"):
                getattr(_model(), method)(_sources(pixels)[kind], verbose=0)
        model = _model()
        model.fit(_sources(pixels)[kind], steps_per_epoch=2, verbose=0, check_range=False)

    def test_other_values_pass(self, kind):
        standardized = np.random.RandomState(0).normal(0, 5, (32, 8, 8, 1)).astype("float32")
        model = _model()
        history = model.fit(_sources(standardized)[kind], steps_per_epoch=2, verbose=0).history
        assert np.isfinite(history["loss"][0])


def test_a_check_within_the_graph_says_one_sentence(images):
    pixels = np.zeros((17, 8, 8, 1), "float32")
    rest = tf.data.Dataset.from_tensor_slices(((pixels, pixels),)).batch(16)
    with pytest.raises(
        ValueError, match=r"^A batch must hold at least 2 images; drop the remainder. Received: 1$"
    ):
        _model(run_eagerly=False).fit(rest, verbose=0)


def test_a_model_saved_within_an_epoch_may_be_evaluated_first(own_views, whole, tmp_path):
    model = _model(probe=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(own_views, epochs=3, verbose=0, callbacks=[_Stop(1, 2)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    again.evaluate(own_views, verbose=0)
    arguments = dict(epochs=2, initial_epoch=1, verbose=0)
    found = again.fit(own_views, initial_step=2, **arguments).history
    for name, values in whole[1].items():
        assert found[name] == values[1:2], name
    again.fit(own_views, **arguments)  # Another epoch begins with nothing.
    assert again.figures_so_far()[0][1] == pytest.approx(float(again.metrics[0].total))


def test_a_generator_is_not_closed(own_views):
    def endless():
        while True:
            yield from own_views

    batches, model = endless(), _model(probe=3)
    for _ in range(2):
        model.fit(batches, steps_per_epoch=1, verbose=0)
    assert next(batches) is not None


def test_the_first_batch_of_a_loader_is_looked_at(images):
    """Grain's and PyTorch's are no data sets of Keras or TensorFlow."""

    class Loader:
        def __iter__(self):
            return iter([((np.zeros((4, 8, 8, 1)),) * 2,)])

    assert fitting.look_at({"x": Loader()}) is None
    Loader.__module__ = "grain.anything"
    (views,) = fitting.look_at({"x": Loader()})
    assert len(views) == 2 and fitting.look_at({"x": Loader()}, is_built=True) is None


class Counting(models.VICReg):
    """Holds a metric, as any Keras model may."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = keras.metrics.Sum(name="steps")

    def after_step(self):
        super().after_step()
        self.steps.update_state(1.0)


@keras.saving.register_keras_serializable(package="tests")
class Watched(keras.layers.Dense):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = keras.metrics.Sum(name="calls")

    def call(self, inputs):
        self.calls.update_state(1.0)
        return super().call(inputs)


def test_metrics_of_a_subclass_and_of_a_layer_are_logged(own_views):
    def encoder():
        return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), Watched(4)])

    counting = Counting(encoder(), keras.layers.Dense(6), probe=3)
    byol = models.BYOL(encoder(), "6", hidden="5")  # Its teacher is a copy.
    for model in (counting, byol):
        model.compile(keras.optimizers.SGD(0.01), metrics=["cosine_similarity"], run_eagerly=True)
        batches = own_views if model is counting else own_views.map(lambda views, _: (views,))
        history = model.fit(batches, epochs=2, verbose=0).history
        assert history["calls"] == [6, 6]
        names = [metric.name for metric in model.metrics]
        assert len(set(names)) == len(names) and names[0] == "loss"
    assert counting.steps.result() == 3


def test_nothing_to_train_is_said_unless_there_is_a_probe(own_views):
    for probe in (None, 3):
        model = _model(probe=probe)
        model.encoder.trainable = model.projector.trainable = False
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        if probe is None:
            with pytest.raises(ValueError, match="A method must have something to train"):
                model.fit(own_views, verbose=0)
            assert np.isfinite(model.evaluate(own_views, verbose=0)).all()
            continue
        model.build((None, 8, 8, 1))
        before = [np.array(w) for w in model.encoder.weights + model.probe.weights]
        model.fit(own_views, verbose=0)
        after = model.encoder.weights + model.probe.weights
        same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        assert all(same[:2]) and not all(same[-2:])


@pytest.mark.parametrize(
    "metric",
    [
        *("accuracy", "acc", "sparse_categorical_accuracy", "categorical_crossentropy"),
        keras.metrics.SparseCategoricalAccuracy(),
        keras.metrics.categorical_accuracy,
    ],
    ids=["accuracy", "acc", "sparse", "cross-entropy", "an object", "a function"],
)
def test_metrics_of_labels_are_refused(own_views, metric):
    model = models.VICReg(_encoder(), keras.layers.Dense(6))
    model.compile("sgd", metrics=[metric], run_eagerly=True)
    with pytest.raises(ValueError, match="`metrics` see the embeddings of the views, not labels"):
        model.fit(own_views, verbose=0)
