"""Every illness is produced for real and found; healthy runs of every method get no diagnosis."""

import contextlib
import dataclasses
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import callbacks, data, encoders, inspection, layers, losses, models, recipes
from keras_ssl._files import FolderLock
from keras_ssl.callbacks import collapse_doctor
from keras_ssl.inspection import diagnosis
from keras_ssl.inspection.events import read_events
from tests.conftest import tiny_encoder

BATCH, STEPS = 64, 8


@keras.saving.register_keras_serializable(package="tests")
class Noise(data.Augmentation):
    """Replaces the whole image by noise."""

    draw_count = 8 * 8 * 1

    def draw(self, numbers, size, xp):
        return {"pixels": numbers}

    def augment(self, images, drawn):
        return tf.reshape(drawn["pixels"], tf.shape(images))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").train


def encoder():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
        ]
    )


def fixed_views(images, policy, labels=None):
    """The same STEPS batches in every epoch, in memory: nothing to trace, nothing to wait for."""
    pixels, y = next(iter(images.batches(BATCH * STEPS)))
    pair = policy(pixels, training=True, seed=(0, 0))
    batches = tf.data.Dataset.from_tensor_slices((pair, labels(y) if labels else y))
    return batches.batch(BATCH).repeat()


def train(
    images,
    criterion=None,
    projector="64-32",
    optimizer=None,
    policy=None,
    epochs=4,
    labels=None,
    probe=None,
    **doctor_arguments,
):
    """Trains VICReg on digits and returns the doctor."""
    policy = policy or data.tiny_gray()
    optimizer = optimizer or keras.optimizers.Adam(3e-3)
    model = models.VICReg(encoder(), projector, criterion or losses.VICRegLoss(), probe=probe)
    # Tracing a graph takes as long as some twenty steps without one.
    model.compile(optimizer, run_eagerly=epochs * STEPS <= 16)
    views = fixed_views(images, policy, labels)
    inspector = callbacks.EmbeddingInspector(images, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector, **doctor_arguments)
    doctor.epochs = len(
        model.fit(
            views,
            steps_per_epoch=STEPS,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[inspector, doctor],
        ).epoch
    )
    return doctor


def vicreg(*weights):
    return losses.VICRegLoss(*weights)


@pytest.mark.long
def test_complete_collapse(digits, tmp_path):
    doctor = train(
        digits,
        vicreg(25.0, 0.0, 0.0),
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
        epochs=30,
        stop=True,
        patience=8,
        checkpoint=tmp_path / "healthy.keras",
    )
    assert [found.name for found in doctor.diagnoses] == ["complete collapse"]
    assert doctor.epochs < 30  # It stopped, and kept the last healthy model.
    healthy = keras.models.load_model(tmp_path / "healthy.keras")
    before = doctor.inspector.sample.inspect(healthy)
    assert before.figures["pairs/positive_above_negative"] > 0.6
    sizes = [
        inspection.figures["spread/rms_of_embeddings"]
        for inspection in (before, doctor.inspector.latest)
    ]
    assert sizes[0] > 0.01 > sizes[1]
    assert "shrunk to nearly nothing" in doctor.history["complete collapse"].finding


@pytest.mark.long
def test_one_embedding_for_all_images(digits):
    """The last layer's bias outweighs all images, so that every cosine is 1."""
    bias = keras.initializers.Constant(1e4)
    projector = keras.Sequential([keras.layers.Dense(32, bias_initializer=bias)])
    model = models.SimCLR(encoder(), projector)
    model.compile(keras.optimizers.SGD(1e-9), run_eagerly=True)
    policy = data.tiny_gray()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    views = fixed_views(digits, policy)
    model.fit(views, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=[inspector, doctor])
    assert "mean cosine of different images is 1.0" in doctor.history["complete collapse"].finding


@pytest.mark.slow
def test_dimensional_collapse(digits):
    doctor = train(
        digits, vicreg(25.0, 25.0, 0.0), optimizer=keras.optimizers.Adam(1e-2), epochs=12
    )
    assert list(doctor.history) == ["dimensional collapse"]


@pytest.mark.long
def test_identical_views(digits):
    nothing = data.TwoViews(data.RandomFlip(0.0))
    doctor = train(digits, policy=nothing, epochs=1)
    assert "identical views" in doctor.history
    assert "100 % of the images" in doctor.history["identical views"].finding


def test_mostly_empty_images_are_not_identical():
    """Their views differ in few pixels, as different images do."""
    random = np.random.RandomState(0)
    stars = np.zeros((32, 24, 24, 1), "float32")
    for image in stars:
        image[random.randint(4, 20, 4), random.randint(4, 20, 4)] = 1
    moved = np.roll(stars, 2, axis=(1, 2))
    model = models.VICReg(keras.Sequential([keras.Input((24, 24, 1)), keras.layers.Flatten()]), "8")
    for views, found in (((stars, moved), False), ((stars, stars.copy()), True)):
        look = inspection.Sample.of(views).inspect(model)
        course = inspection.Course(model, look, look)
        assert (diagnosis.identical_views(course) is not None) == found


@pytest.mark.parametrize(("classes", "is_ill"), [(10, True), (200, False)])
def test_a_probe_of_many_classes_may_be_right_in_few_cases(classes, is_ill):
    """Early in training it gives all images one class, whose share is below a percent."""
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    model = models.VICReg(encoder, "8", probe=classes)
    model.build((None, 8, 8, 1))
    model.probe.bias.assign(np.eye(classes)[3] * 100)
    sample = inspection.Sample.of(tuple(np.random.RandomState(0).rand(2, 16, 8, 8, 1)))
    looks = [sample.inspect(model) for _ in range(2)]
    course = inspection.Course(model, *looks, logs={"probe_accuracy": 0.004}, steps=1)
    assert (diagnosis.probe_without_labels(course) is not None) == is_ill


@pytest.mark.long
def test_views_that_share_nothing(digits):
    doctor = train(digits, policy=data.TwoViews(Noise()), epochs=3)
    assert list(doctor.history) == ["views share nothing"]


@pytest.mark.long
def test_batch_normalization_on_the_last_layer(digits):
    projector = keras.Sequential([keras.layers.Dense(32), keras.layers.BatchNormalization()])
    doctor = train(digits, projector=projector, epochs=1)
    assert list(doctor.history) == ["batch normalization on the last layer"]


@pytest.mark.long
def test_a_dominating_term(digits):
    doctor = train(digits, vicreg(1e-3, 25.0, 1e-3), optimizer=keras.optimizers.SGD(1e-4), epochs=2)
    assert list(doctor.history) == ["dominating term"]
    assert "variance (weight 25)" in doctor.history["dominating term"].finding


@pytest.mark.slow  # Made-up courses show it, too.
def test_a_learning_rate_that_blows_up(digits):
    doctor = train(digits, optimizer=keras.optimizers.Adam(3.0), epochs=2)
    assert "learning rate too high" in doctor.history
    assert "at a learning rate of 3." in doctor.history["learning rate too high"].finding


@pytest.mark.long
def test_figures_that_are_not_finite(digits, caplog):
    with caplog.at_level(logging.WARNING, "keras_ssl"):
        doctor = train(digits, projector="16", optimizer=keras.optimizers.SGD(1e8), stop=True)
    assert "not finite" in doctor.history
    assert doctor.epochs == 1  # it stopped at once
    assert "covariance (still finite: invariance, variance)" in doctor.history["not finite"].finding
    assert "not finite" in caplog.text and "Training stops" in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("kind", [pytest.param("one label", marks=pytest.mark.slow), "no step"])
def test_a_probe_that_never_saw_labels(digits, kind):
    if kind == "one label":
        arguments = {"labels": lambda y: 0 * y, "probe": 10}
    else:
        arguments = {"probe": layers.OnlineProbe(10, keras.optimizers.SGD(0.0))}
    doctor = train(digits, epochs=6 if kind == "one label" else 2, **arguments)
    assert list(doctor.history) == ["probe without labels"]


@pytest.mark.long
def test_a_healthy_run_gets_no_diagnosis(digits):
    assert train(digits).history == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) for name in recipes.SMALL]
)
def test_healthy_runs_get_no_diagnosis(digits, method, seed):
    keras.utils.set_random_seed(seed)
    epochs, batch = 4, 128
    steps = len(digits) // batch
    recipe = dataclasses.replace(recipes.SMALL[method], epochs=epochs, warmup_epochs=1)
    model = recipe.build_model(encoders.resnet8(digits.image_shape), probe=10)
    model.compile(recipe.build_optimizer(steps))
    policy = data.tiny_gray()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, seed=seed)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(
        data.make_views(digits, policy, batch, seed),
        steps_per_epoch=steps,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[inspector, doctor],
    )
    assert doctor.history == {}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("inspector",), TypeError, "`inspector`.*EmbeddingInspector.*str"),
        ((None, True, 0), ValueError, "`patience`"),
        ((None, True, 1, "model.h5"), ValueError, "`checkpoint`.*.keras.*model.h5"),
        ((None, True, 1, 5), TypeError, "`checkpoint` must be a file's path.*5"),
    ],
)
def test_bad_arguments(images, arguments, error, message):
    inspector = arguments[0] or callbacks.EmbeddingInspector(images, data.weak(), count=8)
    with pytest.raises(error, match=message):
        callbacks.CollapseDoctor(inspector, *arguments[1:])


def fit(model, views, *callbacks_):
    return model.fit(views, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[*callbacks_])


@pytest.fixture
def model():
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    model.build((None, 8, 8, 1))
    return model


@pytest.fixture
def inspector(images):
    """It only looks: pictures, which take a second at each look, are the inspector's tests'."""
    return callbacks.EmbeddingInspector(images, data.tiny_gray(), every=1, count=8)


class Breaks(keras.callbacks.Callback):
    """Interrupts `fit` after an epoch."""

    def on_epoch_end(self, epoch, logs=None):
        raise InterruptedError


@pytest.mark.parametrize("used", ["never", "before", "interrupted"])
@pytest.mark.parametrize("order", ["absent", "behind its doctor"])
def test_the_inspector_must_be_before_its_doctor(order, used, model, inspector, views):
    """The error comes before the first step, also if the inspector was used in an earlier fit."""
    doctor = callbacks.CollapseDoctor(inspector)
    if used == "before":
        fit(model, views, inspector, doctor)
    if used == "interrupted":
        with contextlib.suppress(InterruptedError):
            fit(model, views, inspector, doctor, Breaks())
    weights = [w.numpy() for w in model.weights]
    others = [doctor] if order == "absent" else [doctor, inspector]
    with pytest.raises(ValueError, match="`inspector` must be in the list .*before its doctor"):
        fit(model, views, *others)
    for before, after in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


@pytest.mark.long
def test_every_doctor_of_a_fit_examines_and_none_of_an_earlier_one(
    model, inspector, views, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        callbacks.CollapseDoctor, "_examine", lambda self, course: seen.append(doctors.index(self))
    )
    doctors = [callbacks.CollapseDoctor(inspector) for _ in range(2)]

    def examined(*others):
        seen.clear()
        with contextlib.suppress(InterruptedError):
            fit(model, views, inspector, *others)
        return sorted(seen)

    assert examined(*doctors) == [0, 0, 1, 1]  # Before training and after.
    assert examined(doctors[1]) == [1, 1]
    assert examined(Breaks(), doctors[0]) == [0]  # This fit is interrupted.
    assert examined(doctors[0]) == [0, 0]
    assert examined() == []


@pytest.mark.long
def test_diagnoses_are_written_until_the_last_look(model, images, views, tmp_path, monkeypatch):
    """Two doctors can write them, although the inspector closes its log before they do."""
    ill = diagnosis.Diagnosis("an illness", "It was seen.", "Cure it.", heals=False)
    monkeypatch.setattr(collapse_doctor, "diagnose", lambda course: [ill] * bool(course.steps))
    # The look at the end of training is the second one.
    inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, every=2, count=8)
    doctors = [callbacks.CollapseDoctor(inspector) for _ in range(2)]
    fit(model, views, inspector, *doctors)
    events = read_events(tmp_path)
    assert events.records["doctor/record"] == [(0, []), (1, [dataclasses.asdict(ill)])]
    texts = events.texts["doctor/diagnosis"]
    assert texts == [
        (0, "Healthy: nothing was found."),
        (1, "**An illness.** It was seen. Cure it."),
    ]
    FolderLock(tmp_path / "train")  # The folder is free again.


@pytest.mark.long
def test_a_data_set_that_hands_over_one_view_twice(digits):
    """The policy and the inspector's views are fine, so that only the logs can show it."""
    model = models.VICReg(encoder(), "64-32")
    model.compile(keras.optimizers.Adam(3e-3), run_eagerly=True)
    policy = data.tiny_gray()
    views = fixed_views(digits, policy).map(lambda pair, y: ((pair[0], pair[0]), y))
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(views, steps_per_epoch=8, verbose=0, shuffle=False, callbacks=[inspector, doctor])
    assert "equal to the last digit" in doctor.history["identical views"].finding


@pytest.mark.slow  # Made-up courses show it, too.
def test_a_bottleneck_is_a_dimensional_collapse(digits):
    doctor = train(digits, projector="64-2-64", epochs=2)
    assert "2 of 64 directions" in doctor.history["dimensional collapse"].finding


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [True, False])
def test_deep_plain_networks_are_healthy(digits, batch_norm):
    """Their embeddings are tiny in inference mode and before training."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Input((8, 8, 1))])
    for _ in range(8):
        network.add(keras.layers.Conv2D(32, 3, padding="same", kernel_initializer="he_normal"))
        if batch_norm:
            network.add(keras.layers.BatchNormalization(momentum=0.99))
        network.add(keras.layers.ReLU())
    network.add(keras.layers.Flatten())
    model = models.VICReg(network, "64-32")
    model.compile(keras.optimizers.Adam(1e-3))
    policy = data.tiny_gray()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(
        data.make_views(digits, policy, BATCH),
        steps_per_epoch=16,
        epochs=6,
        verbose=0,
        shuffle=False,
        callbacks=[inspector, doctor],
    )
    assert doctor.history == {}


def watch(model, images, optimizer, epochs, batch=BATCH, **doctor_arguments):
    """Trains a model on digits and returns the doctor."""
    model.compile(optimizer)
    policy = data.tiny_gray()
    inspector = callbacks.EmbeddingInspector(images, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector, **doctor_arguments)
    model.fit(
        data.make_views(images, policy, batch),
        steps_per_epoch=STEPS,
        epochs=epochs,
        verbose=0,
        callbacks=[inspector, doctor],
    )
    return doctor


@pytest.mark.slow
def test_an_alignment_that_goes_below_minus_one_is_healthy(digits):
    """Embeddings in a ball of squared radius 10: their products go down to -10."""
    criterion = losses.SpectralContrastiveLoss(squared_radius=10.0)
    model = models.SpectralContrastive(encoder(), "64-32", criterion)
    doctor = watch(model, digits, keras.optimizers.Adam(3e-3), epochs=3)
    assert doctor._course.logs["alignment"] < -1.1
    assert doctor.history == {}


@keras.saving.register_keras_serializable(package="tests")
class Distance(losses.Criterion):
    """BYOL's criterion: only the mean squared distance of embeddings of norm 1."""

    @property
    def weights(self):
        return {"alignment": 1.0}

    def terms(self, z_1, z_2):
        z_1, z_2 = (keras.ops.normalize(z, axis=1) for z in (z_1, z_2))
        squares = keras.ops.sum(keras.ops.square(z_1 - z_2), axis=1)
        return {"alignment": keras.ops.mean(squares)}


class Predicting(models.JointEmbeddingModel):
    """BYOL without a teacher, like SimSiam: a predictor and a stop-gradient, in one direction."""

    default_projector = "128-64"
    default_criterion = Distance

    def __init__(self, *args, predicts=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.predicts = predicts
        if predicts:
            self.predictor = keras.Sequential(
                [
                    keras.layers.Dense(128),
                    keras.layers.BatchNormalization(),
                    keras.layers.ReLU(),
                    keras.layers.Dense(64),
                ]
            )
            self.predictor.build((None, 64))

    def embed(self, views, training=False):
        representations, (z_1, z_2) = super().embed(views, training)
        if not self.predicts:
            return representations, (z_1, z_2)
        p_1 = self.predictor(z_1, training=training)
        return representations, (p_1, keras.ops.stop_gradient(z_2))


@pytest.mark.slow
def test_nothing_is_said_of_a_healthy_predicting_model(digits):
    model = Predicting(encoder())
    doctor = watch(model, digits, keras.optimizers.SGD(0.05, momentum=0.9), epochs=6)
    assert doctor.history == {}


@pytest.mark.slow
def test_a_predicting_model_that_collapses_gets_advice_that_it_can_take(digits):
    projector = keras.Sequential(
        [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(64)]
    )
    model = Predicting(encoder(), projector, predicts=False)
    doctor = watch(model, digits, keras.optimizers.Adam(1e-2), epochs=8)
    assert "complete collapse" in doctor.history
    advice = " ".join(f"{d.finding} {d.remedy}" for d in doctor.history.values())
    for word in ("covariance", "temperature", "redundancy", "negatives", "variance term"):
        assert word not in advice
    assert "stop-gradient" in doctor.history["complete collapse"].remedy


def course(criterion, embeddings, views=None, representations=None, **logs):
    """Makes a course whose first look saw random embeddings, and whose latest saw these."""
    drawn = np.random.RandomState(0).randn(2, 64, 32)
    views = np.random.RandomState(1).rand(2, 64, 8, 8, 1) if views is None else views
    model = models.JointEmbeddingModel(tiny_encoder(), "8-32", criterion)
    model.compile("sgd")
    first, latest = (
        inspection.Inspection(
            tuple(views),
            tuple(representations if representations is not None else z),
            tuple(z),
            (tuple(z),),
            {},
            {name: 1.0 for name in criterion.weights},
        )
        for z in (drawn, np.asarray(embeddings))
    )
    return inspection.Course(model, first, latest, logs, logs, steps=1)


def names(course):
    return [found.name for found in inspection.diagnose(course)]


HEALTHY = np.random.RandomState(2).randn(64, 32) + 0.1 * np.random.RandomState(3).randn(2, 64, 32)


def test_small_embeddings_are_ill_only_where_the_criterion_sees_their_size():
    assert names(course(losses.VICRegLoss(), 1e-4 * HEALTHY)) == ["complete collapse"]
    assert names(course(losses.NTXentLoss(), 1e-4 * HEALTHY)) == []
    assert names(course(Distance(), 1e-4 * HEALTHY)) == []


def test_embeddings_that_differ_in_length_alone_are_one_embedding_to_a_cosine():
    lengths = np.linspace(1, 3, 64)[:, None] * np.ones(32)
    z = lengths + 1e-3 * HEALTHY
    for of_directions in (losses.NTXentLoss, losses.IVNELoss, losses.UniformityLoss):
        assert names(course(of_directions(), z)) == ["complete collapse"]
    assert names(course(losses.VICRegLoss(), z)) == ["dimensional collapse"]
    # Barlow Twins standardizes dimensions, not embeddings: it sees lengths, if not sizes.
    assert names(course(losses.BarlowTwinsLoss(), z)) == ["dimensional collapse"]


def test_lengths_do_not_hide_directions_from_a_cosine():
    """One very long embedding makes most of the variance, but a cosine sees the others as well."""
    z = HEALTHY * np.where(np.arange(64) == 0, 100, 1)[:, None]
    assert names(course(losses.VICRegLoss(), z)) == ["dimensional collapse"]
    assert names(course(losses.NTXentLoss(), z)) == []


def test_methods_without_a_term_against_collapse_begin_with_few_directions():
    """BYOL has been seen at 1.23 while it learned."""
    z = HEALTHY + 3.5 * np.sign(HEALTHY[:1, :, :1])
    assert names(course(losses.NTXentLoss(), z)) == ["dimensional collapse"]
    assert names(course(losses.AlignmentLoss(), z)) == []


def test_few_images_do_not_make_views_unrelated():
    """Of eight images, up to 81 % may be chance."""
    rng = np.random.RandomState(0)
    z = rng.randn(8, 32) + 2.5 * rng.randn(2, 8, 32)
    seen = course(losses.VICRegLoss(), z, rng.rand(2, 8, 4, 4, 1))
    assert 0.6 < seen.latest.figures["pairs/positive_above_negative"] < 0.81
    assert names(seen) == []


@pytest.mark.parametrize(("shared", "found"), [(0.0, ["views share nothing"]), (0.33, [])])
def test_views_that_share_little_share_more_than_nothing(shared, found):
    """Positives are closer than negatives in 49 and in 58 % of all cases; 55 % may be chance."""
    rng = np.random.RandomState(0)
    z = shared * rng.randn(512, 32) / np.sqrt(2) + rng.randn(2, 512, 32)
    views = rng.rand(2, 512, 4, 4, 1)
    seen = course(losses.VICRegLoss(), z, views)
    share = seen.latest.figures["pairs/positive_above_negative"]
    assert share == pytest.approx(0.58 if shared else 0.49, abs=0.015)
    assert names(seen) == found


@pytest.mark.parametrize(
    ("criterion", "logs", "found"),
    [
        (losses.VICRegLoss(), {"invariance": 0.0}, True),
        (losses.VICRegLoss(), {"invariance": 1e-9}, False),
        (losses.NTXentLoss(), {"alignment": -1.0}, True),
        (losses.NTXentLoss(similarity="squared"), {"alignment": -1.0}, False),
        (losses.CodingRateLoss(), {"alignment": -1.0}, True),
        (losses.EMPSSLLoss(), {"alignment": -1.0}, True),
        (losses.SpectralContrastiveLoss(10.0), {"alignment": -1.0}, False),
        (Distance(), {"alignment": -1.0}, False),
        (Distance(), {"alignment": 0.0}, False),
    ],
    ids=lambda value: value.name if isinstance(value, losses.Criterion) else None,
)
def test_equal_embeddings_are_known_from_what_the_criterion_says(criterion, logs, found):
    assert ("identical views" in names(course(criterion, HEALTHY, **logs))) == found


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name.endswith("Loss")])
def test_what_every_criterion_says_about_itself_is_true(name):
    criterion = getattr(losses, name)()
    z = HEALTHY[0].astype("float32")
    terms = {name: float(term) for name, term in criterion.measure(z, z).items()}
    for name, value in criterion.equal_views.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-6)
    assert set(criterion.settings_against_collapse) <= set(criterion.get_config())
    assert set(criterion.variance_terms) | set(criterion.attractive) <= set(criterion.weights)


def test_views_of_several_sizes_and_ranges_are_compared():
    rng = np.random.RandomState(0)
    large, small = rng.rand(2, 64, 8, 8, 1), rng.rand(2, 64, 4, 4, 1)
    criterion = losses.VICRegLoss()
    assert names(course(criterion, HEALTHY, [*large, *small])) == []
    same = course(criterion, HEALTHY, [*large, small[0], small[0]], [*HEALTHY, *HEALTHY[:1]])
    (found,) = inspection.diagnose(same)
    assert found.name == "identical views" and "Views 3 and 4" in found.finding
    # These may be spectrograms, whose range is not that of pixels.
    assert names(course(criterion, HEALTHY, 1e-4 * rng.rand(2, 64, 9, 5))) == []
    flags = rng.rand(2, 64, 20) < 0.5
    assert names(course(criterion, HEALTHY, flags)) == []
    bytes_ = rng.randint(1, 255, (64, 20)).astype("uint8")
    near = course(criterion, HEALTHY, [bytes_, bytes_ - (np.arange(20) % 9 == 0)])
    assert names(near) == ["identical views"]
    # Dropout in the encoder makes equal views differ; an encoder without it does not.
    equal = [large[0], large[0]]
    assert names(course(criterion, HEALTHY, equal, HEALTHY)) == []
    assert names(course(criterion, HEALTHY, equal, HEALTHY[[0, 0]])) == ["identical views"]


@keras.saving.register_keras_serializable(package="tests")
class Nameless(Distance):
    """A criterion that says nothing about its one term."""

    @property
    def weights(self):
        return {"distance": 1.0}

    def terms(self, z_1, z_2):
        return {"distance": super().terms(z_1, z_2)["alignment"]}


@pytest.mark.parametrize(
    ("criterion", "says", "never"),
    [
        (losses.VICRegLoss(), ("raise `covariance_weight` (1.0)",), ("temperature",)),
        (
            losses.VICRegLoss(25, 25, 0),
            ("Raise `covariance_weight` (its default is 1):",),
            ("`variance_weight`",),
        ),
        (losses.VICRegFamilyLoss(), ("`variance_weight`",), ("temperature",)),
        (losses.VICRegExpLoss(), ("lower `temperature` (0.1)",), ("redundancy",)),
        (losses.NTXentLoss(), ("lower `temperature` (0.15)",), ("covariance", "weight")),
        (losses.BarlowTwinsLoss(), ("raise `redundancy_weight`",), ("covariance", "temperature")),
        (losses.CodingRateLoss(), ("lower `alignment_weight`",), ("covariance", "temperature")),
        (losses.SpectralContrastiveLoss(), ("(contrast)",), ("temperature", "_weight")),
        (losses.MoCoLoss(), ("lower `temperature` (0.2)",), ("_weight",)),
        (losses.UniformityLoss(), ("raise `uniformity_weight`",), ("stop-gradient",)),
        (losses.FroSSLLoss(), ("lower `invariance_weight` (8.0)",), ("stop-gradient",)),
        (losses.SIGRegLoss(), ("raise `sigreg_weight`",), ("stop-gradient",)),
        (losses.WMSELoss(), ("lower `shrinkage` (0.001)",), ("stop-gradient", "_weight")),
        (losses.WMSELoss(48), ("lower `shrinkage` (0.001)",), ("stop-gradient", "_weight")),
        (losses.AlignmentLoss(), ("stop-gradient",), ("weight", "temperature", "contrast")),
        (Distance(), ("stop-gradient",), ("weight", "temperature", "contrast")),
        (Nameless(), ("If there is none", "stop-gradient"), ("_weight", "temperature")),
    ],
    ids=lambda value: value.name if isinstance(value, losses.Criterion) else None,
)
def test_remedies_name_only_what_the_criterion_has(criterion, says, never):
    one = np.ones(32) + 1e-4 * HEALTHY
    line = HEALTHY[:, :, :1] * np.ones(32) + 1e-3 * HEALTHY
    collapses = (("complete collapse", one), ("dimensional collapse", line))
    for name, embeddings in collapses:
        (found,) = inspection.diagnose(course(criterion, embeddings))
        assert found.name == name
        assert all(word in found.remedy for word in says)
        assert not any(word in found.remedy for word in never)
