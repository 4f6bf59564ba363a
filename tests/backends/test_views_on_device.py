"""A policy makes its views within the step, on Keras' backend: the same ones as for tf.data."""

import keras
import numpy as np
import pytest

from keras_ssl import data, models
from tests.backends.gradients import compiled
from tests.backends.test_fit import array
from tests.conftest import tiny_encoder

pytestmark = pytest.mark.every_backend
POLICIES = {
    "simclr": data.simclr((12, 10)),
    "byol": data.byol((12, 10)),
    "multi_crop": data.multi_crop((12, 10), (6, 6), 2),
}


@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", POLICIES)
def test_views_are_those_of_opencv(name, dtype):
    images = np.random.RandomState(0).randint(256, size=(6, 18, 15, 3)).astype("uint8")
    images = images if dtype == "uint8" else images.astype("float32") / 255
    policy = POLICIES[name]
    expected = policy.of([images], (7, 2, 5))

    def views(images, numbers, places):
        seed = [numbers[i] for i in range(3)]
        return policy(images, training=True, seed=seed, places=places)

    numbers, places = np.array([7, 2, 5], "int32"), np.arange(6, dtype="int32")
    found = compiled(views)(images, numbers, places)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(array(a), np.asarray(b), atol=2e-5)
    some = compiled(views)(images[2:4], numbers, places[2:4])  # as on a replica
    np.testing.assert_allclose(array(some[0]), np.asarray(expected[0])[2:4], atol=2e-5)


def train(images, make, **arguments):
    keras.utils.set_random_seed(0)
    model = models.SimCLR(tiny_encoder(), "9-8", probe=3, **arguments)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    batches = make(images)
    history = model.fit(batches, epochs=2, verbose=0).history
    return model, history, batches


@pytest.mark.long
def test_training_is_that_of_tf_data_and_goes_on_exactly(images, tmp_path):
    policy = data.Views([data.Compose([data.RandomResizedCrop((8, 8)), data.RandomFlip()])] * 3)
    _, expected, _ = train(images, lambda i: data.make_views(i, policy, 16, seed=4))
    model, found, batches = train(images, lambda i: data.make_batches(i, 16, seed=4), views=policy)
    for name in expected:
        assert found[name] == pytest.approx(expected[name], rel=1e-3), name
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for either in (model, again):
        either.fit(batches, epochs=3, initial_epoch=2, verbose=0)
        assert set(either.evaluate(batches, return_dict=True, verbose=0)) == set(found)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(array(a), array(b))
    assert model.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape == (2, 16)


def test_arrays_of_images_are_enough():
    """Then the policy draws by its own seeds, which are saved with the model."""
    keras.utils.set_random_seed(0)
    policy = data.TwoViews(data.RandomColorJitter(0.4, 0, 0, 0, probability=1.0), seed=3)
    model = models.VICReg(tiny_encoder(), "9-8", views=policy)
    model.compile("sgd", metrics=["cosine_similarity"])
    images = np.random.RandomState(0).randint(256, size=(32, 8, 8, 1)).astype("uint8")
    history = model.fit(images, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["invariance"][0] > 0


def test_what_is_no_batch_of_images_is_refused():
    model = models.VICReg(tiny_encoder(), "9-8", views=data.weak())
    model.compile("sgd")
    with pytest.raises(ValueError, match="A batch of a method with `views` must be"):
        model.fit(np.zeros((16, 8, 8), "float32"), verbose=0)
    with pytest.raises(TypeError, match="`views`"):
        models.VICReg(tiny_encoder(), "9-8", views=lambda images: images)
    with pytest.raises(ValueError, match="these look like bytes"):
        model.fit(np.full((16, 8, 8, 1), 200, "float32"), verbose=0)


def test_single_batches_with_metrics():
    """Keras would build the metrics by a call on the images, as if these were views."""
    model = models.VICReg(tiny_encoder(), "9-8", views=data.TwoViews(data.RandomFlip(), seed=3))
    model.compile("sgd", metrics=["cosine_similarity"])
    images = np.random.RandomState(0).randint(256, size=(6, 8, 8, 1)).astype("uint8")
    for logs in (
        model.train_on_batch(images, return_dict=True),
        model.test_on_batch(images, return_dict=True),
    ):
        assert 0 < logs["cosine_similarity"] <= 1
