"""Every illness is produced for real and found; healthy runs of every method get no diagnosis."""

import contextlib
import dataclasses
import logging

import keras
import pytest
import tensorflow as tf

from keras_ssl import callbacks, data, encoders, layers, losses, models, recipes
from keras_ssl.data.augmentation import Augmentation
from tests.conftest import tiny_encoder

BATCH, STEPS = 64, 8


@keras.saving.register_keras_serializable(package="tests")
class Noise(Augmentation):
    """Nothing of the image is left."""

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
    policy = policy or data.tiny_grey()
    optimizer = optimizer or keras.optimizers.Adam(3e-3)
    model = models.VICReg(encoder(), projector, criterion or losses.VICRegLoss(), probe=probe)
    # A graph takes as long to trace as some twenty steps take without it.
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
    assert [diagnosis.name for diagnosis in doctor.diagnoses] == ["complete collapse"]
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


def test_one_embedding_for_all_images(digits):
    """A last layer with a bias that outweighs all images: cosines are 1 whatever they show."""
    bias = keras.initializers.Constant(1e4)
    projector = keras.Sequential([keras.layers.Dense(32, bias_initializer=bias)])
    model = models.SimCLR(encoder(), projector)
    model.compile(keras.optimizers.SGD(1e-9), run_eagerly=True)
    policy = data.tiny_grey()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    views = fixed_views(digits, policy)
    model.fit(views, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=[inspector, doctor])
    assert "mean cosine of different images is 1.0" in doctor.history["complete collapse"].finding


def test_dimensional_collapse(digits):
    doctor = train(
        digits, vicreg(25.0, 25.0, 0.0), optimizer=keras.optimizers.Adam(1e-2), epochs=12
    )
    assert list(doctor.history) == ["dimensional collapse"]


def test_identical_views(digits):
    nothing = data.TwoViews(data.augmentation.RandomFlip(0.0))
    doctor = train(digits, policy=nothing, epochs=1)
    assert "identical views" in doctor.history
    assert "100 % of the images" in doctor.history["identical views"].finding


def test_views_that_share_nothing(digits):
    doctor = train(digits, policy=data.TwoViews(Noise()), epochs=3)
    assert list(doctor.history) == ["views share nothing"]


def test_batch_normalisation_on_the_last_layer(digits):
    projector = keras.Sequential([keras.layers.Dense(32), keras.layers.BatchNormalization()])
    doctor = train(digits, projector=projector, epochs=1)
    assert list(doctor.history) == ["batch normalisation on the last layer"]


def test_a_dominating_term(digits):
    doctor = train(digits, vicreg(1e-3, 25.0, 1e-3), optimizer=keras.optimizers.SGD(1e-4), epochs=2)
    assert list(doctor.history) == ["dominating term"]
    assert "variance (weight 25)" in doctor.history["dominating term"].finding


def test_a_learning_rate_that_blows_up(digits):
    doctor = train(digits, optimizer=keras.optimizers.Adam(3.0), epochs=2)
    assert "learning rate too high" in doctor.history
    assert "at a learning rate of 3." in doctor.history["learning rate too high"].finding


def test_figures_that_are_not_finite(digits, caplog):
    with caplog.at_level(logging.WARNING, "keras_ssl"):
        doctor = train(digits, projector="16", optimizer=keras.optimizers.SGD(1e8), stop=True)
    assert "not finite" in doctor.history
    assert doctor.epochs == 1  # it stopped at once
    assert "covariance first" in doctor.history["not finite"].finding
    assert "not finite" in caplog.text and "Training stops" in caplog.text


@pytest.mark.parametrize("kind", [pytest.param("one label", marks=pytest.mark.slow), "no step"])
def test_a_probe_that_never_saw_labels(digits, kind):
    if kind == "one label":
        arguments = {"labels": lambda y: 0 * y, "probe": 10}
    else:
        arguments = {"probe": layers.OnlineProbe(10, keras.optimizers.SGD(0.0))}
    doctor = train(digits, epochs=6, **arguments)
    assert list(doctor.history) == ["probe without labels"]


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
    policy = data.tiny_grey()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, seed=seed)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(
        data.two_views(digits, policy, batch, seed),
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


def test_the_inspector_must_be_there(images, views):
    model = models.VICReg(encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    doctor = callbacks.CollapseDoctor(callbacks.EmbeddingInspector(images, data.weak(), count=8))
    with pytest.raises(ValueError, match="`inspector` must be in the list of callbacks"):
        model.fit(views, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[doctor])


def test_every_doctor_of_a_fit_examines_and_none_of_an_earlier_one(images, views):
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    inspector = callbacks.EmbeddingInspector(images, data.tiny_grey(), every=1, count=8)
    doctors = [callbacks.CollapseDoctor(inspector) for _ in range(2)]

    class Breaks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise InterruptedError

    def fit(*others):
        with contextlib.suppress(InterruptedError):
            model.fit(views, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[*others])
        seen, looks[:] = sorted(looks), []
        return seen

    looks = []
    for number, doctor in enumerate(doctors):
        doctor._examine = lambda course, number=number: looks.append(number)
    assert fit(*doctors, inspector) == [0, 0, 1, 1]  # Before training and after.
    assert fit(inspector, doctors[1]) == [1, 1]
    assert fit(inspector, doctors[0], Breaks()) == [0, 0]  # It does not come to its end.
    assert fit(inspector) == []


def test_a_data_set_that_hands_over_one_view_twice(digits):
    """Its policy is fine, and so are the views of the inspector's own."""
    model = models.VICReg(encoder(), "64-32")
    model.compile(keras.optimizers.Adam(3e-3), run_eagerly=True)
    policy = data.tiny_grey()
    views = fixed_views(digits, policy).map(lambda pair, y: ((pair[0], pair[0]), y))
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(views, steps_per_epoch=8, verbose=0, shuffle=False, callbacks=[doctor, inspector])
    assert "equal to the last digit" in doctor.history["identical views"].finding


def test_a_bottleneck_is_a_dimensional_collapse(digits):
    doctor = train(digits, projector="64-2-64", epochs=2)
    assert "2 of 64 directions" in doctor.history["dimensional collapse"].finding


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [True, False])
def test_deep_plain_networks_are_healthy(digits, batch_norm):
    """Whose embeddings in inference mode, or before training, are of no size to speak of."""
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
    policy = data.tiny_grey()
    inspector = callbacks.EmbeddingInspector(digits, policy, every=1, count=128)
    doctor = callbacks.CollapseDoctor(inspector)
    model.fit(
        data.two_views(digits, policy, BATCH),
        steps_per_epoch=16,
        epochs=6,
        verbose=0,
        shuffle=False,
        callbacks=[inspector, doctor],
    )
    assert doctor.history == {}
