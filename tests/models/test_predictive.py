"""Methods with a predictor and a teacher: what is compared, what learns, and what follows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import encoders, layers, losses, models, optimizers, recipes
from keras_ssl.encoders import as_encoder
from keras_ssl.pretraining.options import Options, base_recipe
from tests.conftest import tiny_encoder

IMAGES = np.random.RandomState(0).uniform(size=(2, 8, 8, 8, 1)).astype("float32")
VIEWS = tuple(IMAGES)


def build(method, **arguments):
    model = method(tiny_encoder(), "8-6", hidden="5", **arguments)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.build((None, 8, 8, 1))
    return model


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("method", [models.BYOL, models.SimSiam, models.MoCoV3])
def test_each_prediction_is_compared_with_the_targets_of_the_other_views(method, views):
    model = build(method)
    _, embeddings = model.embed(VIEWS[:1] * views)
    assert len(embeddings) == 2 * views
    named = [f"p{i}" for i in range(views)] + [f"t{i}" for i in range(views)]
    expected = {(f"p{i}", f"t{j}") for i in range(views) for j in range(views) if i != j}
    assert set(model.pairs(tuple(named))) == expected


def test_the_loss_is_the_mean_over_both_directions():
    model = build(models.SimSiam)
    _, (p_1, p_2, t_1, t_2) = model.embed(VIEWS)

    def cosine(a, b):
        a, b = (np.asarray(z) / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
        return np.mean(np.sum(a * b, axis=1))

    loss = model.compute_loss(x=VIEWS, y_pred=(p_1, p_2, t_1, t_2))
    assert float(loss) == pytest.approx(-(cosine(p_1, t_2) + cosine(p_2, t_1)) / 2, rel=1e-5)


def test_targets_of_simsiam_are_its_own_embeddings_without_a_gradient():
    model = build(models.SimSiam)
    with tf.GradientTape() as tape:
        _, (p_1, _, t_1, _) = model.embed(VIEWS, training=True)
        through = tf.reduce_sum(t_1)
    gradients = tape.gradient(through, model.encoder.trainable_weights)
    assert all(gradient is None for gradient in gradients)
    assert model.teacher is None
    np.testing.assert_allclose(p_1, model.predictor(t_1, training=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [models.BYOL, models.MoCoV3])
def test_the_teacher_follows(method):
    model = build(method, momentum=0.75)
    kernels = [
        next(w for w in part.weights if "kernel" in w.path)
        for part in (model.teacher, model.encoder)
    ]
    before = np.asarray(kernels[0])
    np.testing.assert_array_equal(before, kernels[1])
    model.train_on_batch(VIEWS)
    expected = 0.75 * before + 0.25 * np.asarray(kernels[1])
    assert not np.array_equal(before, kernels[1])
    np.testing.assert_allclose(kernels[0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", [models.BYOL, models.MoCoV3])
def test_the_teacher_follows_what_is_thawed_later(method):
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    )
    encoder.trainable = False
    model = method(encoder, "8-6", hidden="5", momentum=0.5)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.train_on_batch(VIEWS)
    copy, original = (
        next(w for w in part.weights if "kernel" in w.path) for part in (model.teacher, encoder)
    )
    before = np.asarray(copy)
    np.testing.assert_array_equal(before, original)
    encoder.trainable = True
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.train_on_batch(VIEWS)
    expected = 0.5 * before + 0.5 * np.asarray(original)
    assert not np.array_equal(before, original)
    np.testing.assert_allclose(copy, expected, rtol=1e-5)
    assert not model.teacher.trainable_weights


def test_the_teacher_of_a_frozen_batch_normalization_uses_its_averages():
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    )
    teacher = layers.MovingAverage(encoder, 0.5)
    encoder.layers[-1].trainable = False
    found = teacher(100 * VIEWS[0], training=True)
    np.testing.assert_allclose(found, encoder(100 * VIEWS[0], training=False), rtol=1e-5)


def test_a_teacher_has_no_lora():
    """A file holds the sums of weights, from which it could not go on."""
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    encoder.add(keras.layers.Dense(6))
    encoder.layers[-1].enable_lora(2)
    model = models.BYOL(encoder, "8-6", hidden="5")
    with pytest.raises(ValueError, match="`student` must have no LoRA"):
        model.build((None, 8, 8, 1))


def build_by_training(model):
    model.compile(keras.optimizers.SGD(0.0))
    model.train_on_batch(VIEWS)


def build_by_predicting(model):
    model.compile(keras.optimizers.SGD(0.0))
    model.predict(VIEWS[0], verbose=0)
    model.fit(tf.data.Dataset.from_tensors((VIEWS,)), verbose=0)


@pytest.mark.parametrize("train", [build_by_training, build_by_predicting])
def test_a_teacher_begins_as_its_student_also_if_a_graph_built_it(train):
    model = models.BYOL(tiny_encoder(), "8-6", hidden="5", momentum=1.0)
    train(model)
    of_student = [w for part in (model.encoder, model.projector) for w in part.trainable_weights]
    of_teacher = [
        w
        for copy in model.teacher._copies
        for w in copy.weights
        if w.name not in ("moving_mean", "moving_variance", "seed_generator_state")
    ]
    assert len(of_student) == len(of_teacher)
    for a, b in zip(of_student, of_teacher, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_teacher_that_has_not_moved_is_its_student():
    """Its student may have got other weights after the untrained model was judged."""
    model = models.BYOL(tiny_encoder(), "8-6", hidden="5", momentum=0.5)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model.evaluate(tf.data.Dataset.from_tensors((VIEWS,)), verbose=0)
    model.encoder.set_weights([w + 1 for w in model.encoder.get_weights()])
    model.start_teachers(training=False)
    kernels = model.encoder.weights[0], model.teacher._copies[0].weights[0]
    np.testing.assert_array_equal(*kernels)
    model.train_on_batch(VIEWS)  # From now on, it follows.
    model.encoder.set_weights([w + 1 for w in model.encoder.get_weights()])
    model.start_teachers()
    assert np.any(np.array(kernels[0]) != np.array(kernels[1]))


@keras.saving.register_keras_serializable(package="tests")
class Anchored(models.VICReg):
    """Holds the encoder as it was, which is never updated."""

    def build(self, input_shape):
        super().build(input_shape)
        self.anchor = layers.MovingAverage(self.encoder, momentum=1.0)
        self.anchor.build()


def test_a_teacher_that_never_moves_is_as_it_was_in_the_file(tmp_path):
    model = Anchored(tiny_encoder(), keras.layers.Dense(6))
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.train_on_batch(VIEWS)
    first = np.array(model.anchor._copies[0].weights[0])
    assert np.any(first != np.array(model.encoder.weights[0]))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    again.train_on_batch(VIEWS)
    np.testing.assert_array_equal(again.anchor._copies[0].weights[0], first)


def test_the_teacher_of_a_distillation_stays_frozen():
    model = models.Distillation(tiny_encoder(), teacher=tiny_encoder())
    model.trainable = False
    model.trainable = True
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.5), run_eagerly=True)
    before = model.teacher.get_weights()
    model.train_on_batch(VIEWS)
    assert not model.teacher.trainable_weights
    for a, b in zip(before, model.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_published_momenta_and_widths():
    assert build(models.BYOL).momentum == 0.996
    assert build(models.MoCoV3).momentum == 0.99
    assert models.SimSiam(tiny_encoder(), "8").hidden == "512"
    assert models.BYOL(tiny_encoder(), "8").hidden == "4096"


def test_batch_normalization_ends_the_projectors_of_simsiam_and_moco():
    normalized = [
        name
        for name in models.__all__
        if name not in ("JointEmbeddingModel", "Distillation")
        and getattr(models, name)(tiny_encoder(), "8").projector.normalized
    ]
    assert normalized == ["MoCoV3", "SimSiam"]
    own = layers.Projector("8-4")
    assert models.SimSiam(tiny_encoder(), own).projector is own


@pytest.mark.long
def test_a_schedule_of_the_momentum_is_saved(tmp_path):
    schedule = optimizers.cosine_momentum(0.9, 4)
    model = build(models.BYOL, momentum=schedule)
    model.train_on_batch(VIEWS)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.momentum.get_config() == schedule.get_config()
    assert int(again.teacher.iterations) == 1
    for either in (model, again):
        either.train_on_batch(VIEWS)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


# --- Distillation ----------------------------------------------------------------------------


def teacher():
    keras.utils.set_random_seed(3)
    return as_encoder(encoders.resnet((8, 8, 1), blocks=(1,), width=4))


def distill(**arguments):
    keras.utils.set_random_seed(0)
    model = models.Distillation(tiny_encoder(), teacher=teacher(), **arguments)
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    return model


@pytest.mark.long
def test_a_student_learns_what_its_teacher_says(tmp_path):
    model = distill(projector="16-4", probe=3)
    assert model.teacher.output_shape == (None, 4)
    before = [np.asarray(w) for w in model.teacher.weights]
    data = (VIEWS, np.arange(8) % 3)
    losses_ = [float(model.train_on_batch(*data, return_dict=True)["loss"]) for _ in range(30)]
    assert losses_[-1] < losses_[0] - 0.2
    for a, b in zip(before, model.teacher.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {w.path for w in model.trainable_weights} & {w.path for w in model.teacher.weights}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for either in (model, again):
        either.train_on_batch(*data)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_distillation_compares_the_same_view():
    model = distill(criterion=losses.MoCoLoss())
    assert model.projector.widths == (2048, 4)
    assert model.pairs(("a_1", "a_2", "t_1", "t_2")) == [("a_1", "t_1"), ("a_2", "t_2")]
    _, embeddings = model.embed(VIEWS)
    np.testing.assert_array_equal(embeddings[2], model.teacher(VIEWS[0], training=False))


def test_a_teacher_whose_size_is_unknown_needs_a_projector():
    unknown = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="`projector` must be given"):
        models.Distillation(tiny_encoder(), teacher=unknown)
    with pytest.raises(TypeError, match="`encoder` must be a Keras model"):
        models.Distillation(tiny_encoder(), teacher="teacher")


def test_a_student_is_not_its_own_teacher():
    encoder = tiny_encoder()
    with pytest.raises(ValueError, match="`teacher` must not share weights with the encoder"):
        models.Distillation(encoder, "8-6", teacher=encoder)
    assert encoder.trainable_weights


class Subclassed(keras.Model):
    """A trained model that does not know the shape of its images."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(4)

    def call(self, images):
        return self.layer(keras.ops.reshape(images, (-1, 64)))


def test_the_range_of_a_teacher_that_does_not_know_its_images(tmp_path):
    own = Subclassed()
    own(255 * VIEWS[0])
    model = models.Distillation(tiny_encoder(), "8-4", teacher=own, teacher_range=(0, 255))
    model.build((None, 8, 8, 1))
    _, embeddings = model.embed(VIEWS)
    np.testing.assert_allclose(embeddings[2], own(255 * VIEWS[0]), rtol=1e-4, atol=1e-3)
    assert not model.teacher.trainable_weights


def test_a_method_that_needs_more_has_no_recipe():
    with pytest.raises(ValueError, match="`model` must need no more.*Distillation.*'teacher'"):
        recipes.small(models.Distillation)


def test_a_method_of_your_own_that_needs_more_is_in_nobodys_way():
    @keras.saving.register_keras_serializable("mine")
    class NeedsTeacher(models.Distillation):
        """Registered, as `--import` does."""

    try:
        assert "vicreg" in recipes.methods() and "mine>NeedsTeacher" not in recipes.methods()
        options = Options(method="mine>NeedsTeacher", config=None)
        with pytest.raises(ValueError, match="`model` must need no more.*NeedsTeacher.*'teacher'"):
            base_recipe(options)
    finally:
        del keras.saving.get_custom_objects()["mine>NeedsTeacher"]


# --- What is of nothing that is trained ------------------------------------------------------


def _with_an_activity_regularizer():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activity_regularizer=keras.regularizers.L2(1.0)),
        ]
    )


def test_losses_of_a_teacher_that_follows_are_not_those_of_the_method():
    model = models.BYOL(_with_an_activity_regularizer(), "8-4")
    model.compile("sgd", run_eagerly=True)
    logs = model.test_on_batch(VIEWS, return_dict=True)
    # Keras takes the mean over the batch.
    own = sum(np.sum(np.square(model.encoder(view))) / len(view) for view in VIEWS)
    assert logs["loss"] == pytest.approx(logs["alignment"] + own, rel=1e-4)


def test_losses_of_a_given_teacher_are_not_those_of_the_method():
    model = models.Distillation(tiny_encoder(), "8-4", teacher=_with_an_activity_regularizer())
    model.compile("sgd", run_eagerly=True)
    logs = model.test_on_batch(VIEWS, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["alignment"], rel=1e-6)


def test_a_teacher_has_weights_that_small_steps_change():
    keras.config.set_dtype_policy("bfloat16")
    model = models.BYOL(tiny_encoder(), "8-4")
    model.compile("sgd")
    with pytest.raises(ValueError, match="`student` must have weights of float32.*bfloat16"):
        model.train_on_batch(VIEWS)


def test_a_projector_that_does_not_fit_the_teacher():
    model = models.Distillation(tiny_encoder(), "8-5", teacher=teacher())
    with pytest.raises(ValueError, match="`projector` must end in .* 4. Received: .* 5 dim"):
        model.build((None, 8, 8, 1))
