"""Checks that docs/extending.md runs, and that its methods keep all promises of the library."""

import json
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data, inspection, layers, models, recipes
from tests import extending
from tests.extending import dense_encoder

every_method = pytest.mark.parametrize("name", extending.METHODS)


pytestmark = pytest.mark.long  # All share the page's methods, which take a quarter of a minute.


def _views_without_a_graph(images, policy, batch_size):
    """Stands for `data.make_views`, which takes ten seconds to trace the page's policies."""
    batches = [
        (policy(pixels, seed=(0, step)), labels)
        for step, (pixels, labels) in enumerate(images.batches(batch_size))
    ]
    return tf.data.Dataset.from_tensor_slices(
        tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)
    )


@pytest.fixture(scope="module")
def page(eagerly):
    with mock.patch.object(data, "make_views", _views_without_a_graph):
        return extending.load()


@pytest.mark.slow
def test_the_page_runs_as_written():
    test_the_page_runs(extending.load())


def test_the_page_runs(page):
    assert page.representations.shape == (64, 9)
    pixels, _ = next(iter(page.images.batches(8)))
    view_1, view_2 = page.inverted(pixels)
    assert not np.array_equal(view_1, view_2)


@every_method
def test_a_recipe_builds_a_method_with_arguments_of_its_own(page, name):
    recipe = recipes.small(getattr(page, name))
    model = recipe.build_model(dense_encoder(), probe=3)
    assert isinstance(model.criterion, getattr(page, name).default_criterion)
    assert model.probe.num_classes == 3
    if name == "BYOL":
        assert (model.hidden, model.momentum) == ("4096", 0.996)


@pytest.mark.parametrize(
    ("name", "most"), [("class BYOL", 40), ("class MultiCropSimCLR", 10), ("class FroSSLLoss", 40)]
)
def test_a_method_is_short(name, most):
    """Every line counts, including blank lines, docstrings and the criterion."""
    (block,) = [block for block in extending.BLOCKS if name in block]
    assert len(block.strip().splitlines()) <= most


def _dataset(batches):
    def generate():
        yield from batches

    (views, labels), *_ = batches
    spec = (
        tuple(tf.TensorSpec(view.shape, tf.float32) for view in views),
        tf.TensorSpec(labels.shape, tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(generate, output_signature=spec)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))


def _weights(model):
    return [np.asarray(variable) for variable in (*model.variables, *model.optimizer.variables)]


@every_method
def test_a_method_goes_on_as_if_it_had_not_been_saved(page, name, tmp_path):
    """The method has batch normalization everywhere, a probe, and a teacher with a schedule."""
    encoder = keras.Sequential(
        [
            keras.layers.Input((None, None, 1)),
            keras.layers.Conv2D(4, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model = getattr(page, name)(encoder, "8-6", probe=3)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), run_eagerly=True)
    batches = _dataset(extending.make_batches(name))
    model.fit(batches, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    for either in (model, again):
        either.fit(batches, epochs=2, initial_epoch=1, verbose=0)
    assert len(_weights(model)) == len(_weights(again))
    for a, b in zip(_weights(model), _weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


@every_method
def test_micro_batches_are_the_whole_batch(page, name):
    weights = []
    for size in (None, 4):
        keras.utils.set_random_seed(0)
        model = extending.make_method(page, name)
        model.micro_batch_size = size
        model.compile(keras.optimizers.SGD(0.5))
        model.fit(_dataset(extending.make_batches(name)), epochs=1, verbose=0)
        weights.append([np.asarray(variable) for variable in model.variables])
    for whole, parts in zip(*weights, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_replicas_are_one_device():
    """They are compared in float64, where only a different method could make a difference."""
    results = {}
    for replicas in (1, 2):
        done = subprocess.run(
            [sys.executable, "-m", "tests.distribution.extending_program", str(replicas)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        results[replicas] = json.loads(done.stdout.splitlines()[-1])
    for name in extending.METHODS:
        one, two = (results[replicas][name] for replicas in (1, 2))
        np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-9)
        for a, b in zip(one["weights"], two["weights"], strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-9)


# --- The seam itself -----------------------------------------------------------------------------


class TestSeam:
    def test_the_loss_is_the_mean_over_pairs(self, page):
        """With three views there are three pairs, which are computed by hand."""
        model = models.SimCLR(extending.dense_encoder(), extending.linear_head())
        model.compile("sgd", run_eagerly=True)
        (views, _), *_ = extending.make_batches("FroSSL", count=1)
        logs = model.evaluate(_dataset([(views, np.zeros(16))]), verbose=0, return_dict=True)
        z = [model.projector(model(view)) for view in views]
        by_hand = [model.criterion(z[i], z[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert logs["loss"] == pytest.approx(float(np.mean(by_hand)), rel=1e-6)

    def test_views_of_one_image_in_one_array_are_refused(self):
        class Stacked(models.SimCLR):
            def embed(self, views, training=False):
                representations, embeddings = super().embed(views, training)
                return representations, (keras.ops.concatenate(embeddings),) * 2

        model = Stacked(extending.dense_encoder(), extending.linear_head())
        model.compile("sgd", run_eagerly=True)
        with pytest.raises(ValueError, match="row i is image i.*32 rows, for views with 16"):
            model.fit(_dataset(extending.make_batches("BYOL", count=1)), verbose=0)

    def test_no_pair_is_refused(self):
        class Pairless(models.SimCLR):
            def pairs(self, embeddings):
                return []

        model = Pairless(extending.dense_encoder(), extending.linear_head())
        model.compile("sgd", run_eagerly=True)
        with pytest.raises(ValueError, match="`pairs` must return at least one.*2 embeddings"):
            model.fit(_dataset(extending.make_batches("BYOL", count=1)), verbose=0)

    def test_a_criterion_of_two_views_refuses_three(self):
        z = np.eye(4, dtype="float32")
        with pytest.raises(ValueError, match="two views at a time.*3 views"):
            models.SimCLR.default_criterion()(z, z, z)

    def test_compiled_metrics_see_every_pair(self, page):
        model = extending.make_method(page, "MultiCropSimCLR")
        seen = []

        class Count(keras.metrics.Mean):
            def update_state(self, y_true, y_pred, sample_weight=None):
                seen.append((y_true.shape, y_pred.shape))
                return super().update_state(0.0)

        model.compile("sgd", metrics=[Count()], run_eagerly=True)
        model.evaluate(_dataset(extending.make_batches("MultiCropSimCLR", count=1)), verbose=0)
        assert len(seen) >= 4 + 3 and set(seen) == {((16, 8), (16, 8))}

    def test_one_view_is_refused(self):
        model = models.SimCLR(extending.dense_encoder(), extending.linear_head())
        model.compile("sgd")
        with pytest.raises(ValueError, match="two views or more"):
            model.fit(tf.data.Dataset.from_tensors(((np.zeros((4, 8, 8, 1), "float32"),),)))


# --- The teacher and the predictor ---------------------------------------------------------------


class TestMovingAverage:
    def _teacher(self, momentum):
        student = keras.Sequential(
            [keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
        )
        teacher = layers.MovingAverage(student, momentum)
        teacher.build((None, 4))
        return student, teacher

    def test_it_begins_as_the_student_is_and_follows_it(self):
        student, teacher = self._teacher(0.75)
        x = np.random.RandomState(0).randn(8, 4).astype("float32")
        np.testing.assert_array_equal(teacher(x), student(x))
        before = student.layers[0].kernel.numpy()
        student.layers[0].kernel.assign(before + 1)
        teacher.update()
        kernel = teacher._copies[0].layers[0].kernel
        np.testing.assert_allclose(kernel, before + 0.25, rtol=1e-6)
        assert int(teacher.iterations) == 1

    def test_no_gradient_trains_it_and_its_batch_statistics_are_its_own(self):
        student, teacher = self._teacher(0.5)
        assert not teacher.trainable_weights
        x = tf.constant(np.random.RandomState(0).randn(8, 4), tf.float32)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(teacher(x, training=True) ** 2)
        assert tape.gradient(value, student.trainable_weights) == [None] * 4
        # It normalizes by the batch, and updates its own moving average, not the student's.
        np.testing.assert_allclose(np.mean(teacher(x, training=True), axis=0), 0, atol=1e-6)
        assert np.any(teacher._copies[0].layers[1].moving_mean)
        assert not np.any(student.layers[1].moving_mean)

    def test_its_momentum_may_be_a_schedule(self):
        from keras_ssl import optimizers

        student, teacher = self._teacher(optimizers.cosine_momentum(0.5, steps=2))
        start = teacher._copies[0].layers[0].kernel.numpy()
        for expected in (0.5, 0.75, 1.0, 1.0):  # 1 - 0.5 (cos(pi k / 2) + 1) / 2
            before = teacher._copies[0].layers[0].kernel.numpy()
            student.layers[0].kernel.assign(before + 1)
            teacher.update()
            np.testing.assert_allclose(
                teacher._copies[0].layers[0].kernel, before + 1 - expected, atol=1e-6
            )
        assert start.shape == (4, 3)

    @pytest.mark.parametrize("student", [None, [], "encoder", [3]], ids=repr)
    def test_a_student_that_is_none(self, student):
        with pytest.raises(TypeError, match="`student` must be"):
            layers.MovingAverage(student)

    def test_a_student_that_is_not_built(self):
        with pytest.raises(ValueError, match="`student` must be made of layers that are built"):
            layers.MovingAverage(keras.layers.Dense(3)).build((None, 4))


# --- Views ---------------------------------------------------------------------------------------


class TestViews:
    def test_two_of_many_are_those_of_two(self):
        """`Views` of two views draws the same as a policy of two views."""
        pixels = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 1)).astype("uint8")
        two = data.weak()
        many = data.Views(two.views)
        for a, b in zip(two(pixels, seed=(1, 2)), many(pixels, seed=(1, 2)), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_multi_crop_has_two_large_views_and_small_ones(self):
        pixels = np.random.RandomState(0).randint(0, 256, (2, 30, 30, 3)).astype("uint8")
        views = data.multi_crop((28, 28), local_count=3)(pixels, seed=(0, 1))
        sizes = [tuple(view.shape[1:3]) for view in views]
        assert sizes == [(28, 28)] * 2 + [(12, 12)] * 3
        assert not np.array_equal(views[2], views[3])

    @pytest.mark.parametrize(
        ("views", "error", "message"),
        [
            (None, TypeError, "`views` must be a list"),
            ([data.RandomFlip()], ValueError, "two or more"),
            ([data.RandomFlip(), 3], TypeError, "`views` must be"),
            ([data.weak(), data.weak()], TypeError, "`views` must be"),
        ],
    )
    def test_what_makes_no_views(self, views, error, message):
        with pytest.raises(error, match=message):
            data.Views(views)


# --- Inspection ----------------------------------------------------------------------------------


class TestInspection:
    def test_embeddings_of_n_images_are_shown_as_n_images(self, page):
        """BYOL has four embeddings: every array has N images, and the positives are its pairs."""
        model = page.byol
        seen = inspection.Sample(page.images, data.weak(), count=32).inspect(model)
        assert len(seen.embeddings) == 4 and len(seen.representations) == 2
        assert seen.norms.shape == (32,) and seen.cosines.shape == (32, 32)
        p_1, p_2, t_1, t_2 = seen.unit
        by_hand = (np.sum(p_1 * t_2, axis=1) + np.sum(p_2 * t_1, axis=1)) / 2
        np.testing.assert_allclose(seen.positive_cosines, by_hand, atol=1e-12)
        assert seen.terms["alignment"] == pytest.approx(2 - 2 * by_hand.mean(), rel=1e-4)

    def test_of_many_views_ten_pairs_are_measured(self, page):
        z = np.random.RandomState(0).randn(20, 8, 4)
        seen = inspection.Inspection((), (), tuple(z), (tuple(z),), {}, {})
        assert len(seen._unit_pairs) == 10 and seen.positive_cosines.shape == (8,)

    def test_views_of_several_sizes_and_views_that_are_no_images(self, page):
        seen = inspection.Sample(page.images, page.crops, count=16).inspect(page.multi_crop)
        assert len(seen.embeddings) == 8 and len(seen.pairs) == 13
        rows = page.table
        sample = inspection.Sample.of((rows, page.noisy(rows)), labels=np.arange(64) % 3)
        seen = sample.inspect(page.people)
        assert seen.representations[0].shape == (64, 9)
        from keras_ssl.inspection import pictures

        assert "views/image_and_views" not in pictures.all_pictures(sample, seen)

    @pytest.mark.parametrize(
        ("views", "error"),
        [
            (None, TypeError),
            ((np.zeros((4, 2)),), TypeError),
            ((np.zeros((4, 2)), np.zeros((3, 2))), ValueError),
            ((np.zeros((1, 2)), np.zeros((1, 2))), ValueError),
        ],
    )
    def test_a_sample_of_what_are_no_views(self, views, error):
        with pytest.raises(error, match="`views`"):
            inspection.Sample.of(views)


def test_both_forms_of_the_augmentation_agree(page):
    images = np.random.RandomState(0).randint(0, 256, (8, 6, 6, 3), "uint8")
    assert page.inverted.goes_one_by_one
    views = page.inverted.of([images], (1, 2))
    for expected, view in zip(page.inverted(images, seed=(1, 2)), views, strict=True):
        np.testing.assert_allclose(view, expected, atol=1e-6)
