"""Every method trains on Keras' backend, is saved, and goes on; so do methods of one's own."""

import keras
import numpy as np
import pytest

from keras_ssl import data, encoders, models
from tests import extending
from tests.backends.test_fit import array, make
from tests.catalog import METHODS
from tests.conftest import quick_policy, tiny_encoder

pytestmark = pytest.mark.every_backend


def weights(model):
    variables = [*model.variables, *model.optimizer.variables]
    if model.probe is not None:
        variables += model.probe.optimizer.variables
    return [array(v) for v in variables]


# Their criteria are checked by test_criteria.py, and what is around them by the other methods.
MORE = ("DCL", "VICRegExp", "VICRegCtr", "AlignmentUniformity", "FroSSL", "IVNE", "MMCR", "SimSiam")
MORE += ("BYOL", "EMPSSL", "SpectralContrastive", "TCR", "LeJEPA", "MoCoV3", "VIbCReg", "WMSE")
NAMES = [pytest.param(name, marks=pytest.mark.long if name in MORE else ()) for name in METHODS]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_learns_and_goes_on_as_if_it_had_not_been_saved(name, images, tmp_path):
    views = data.make_views(images, quick_policy(), 16, seed=0)
    model = make(METHODS[name])
    model.build((None, 8, 8, 1))
    before = [array(v) for v in model.trainable_weights]
    history = model.fit(views, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and model.images_per_step == 16
    assert all(np.any(array(v) != b) for v, b in zip(model.trainable_weights, before, strict=True))
    assert {*model.criterion.weights, "probe_loss", "probe_accuracy"} < set(history)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for either in (model, again):
        either.fit(views, epochs=3, initial_epoch=2, verbose=0)
    for a, b in zip(weights(model), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


def distillation():
    teacher = encoders.resnet((8, 8, 1), blocks=(1,), width=4)
    return models.Distillation(tiny_encoder(), "8-4", probe=3, teacher=teacher)


def anchored():
    return models.VICReg(encoders.anchored(tiny_encoder()), "8-6", probe=3)


@pytest.mark.long
@pytest.mark.parametrize("build", [distillation, anchored])
def test_with_a_frozen_network_beside_it(build, images, tmp_path):
    views = data.make_views(images, quick_policy(), 16, seed=0)
    model = build()
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(views, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(again.trainable_weights) == len(model.trainable_weights)
    for either in (model, again):
        either.fit(views, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(weights(model), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.long
def test_a_teacher_begins_as_its_student(images):
    views = data.make_views(images, quick_policy(), 16, seed=0)
    model = models.BYOL(tiny_encoder(), "8-6", hidden="5", momentum=1.0)
    model.compile(keras.optimizers.SGD(0.0))
    pair = next(iter(views))[0]
    model.predict(array(pair[0]), verbose=0)
    model.fit(views, verbose=0)
    own = [w for part in (model.encoder, model.projector) for w in part.trainable_weights]
    ours = {w.path.partition("/")[2]: array(w) for w in own}
    found = [array(w) for copy in model.teacher._copies for w in copy.weights]
    assert ours and all(any(np.array_equal(a, b) for b in found) for a in ours.values())


@pytest.mark.parametrize("name", extending.METHODS)
def test_methods_of_ones_own(name):
    page = extending.load_classes()
    model = getattr(page, name)(extending.dense_encoder(), "8-6", probe=3)
    model.compile(keras.optimizers.SGD(0.1))
    for views, labels in extending.make_batches(name):
        logs = model.train_on_batch(views, labels, return_dict=True)
    assert np.isfinite(logs["loss"])
    if name == "BYOL":
        assert int(model.teacher.iterations) == 3


@pytest.mark.long
def test_a_model_saved_within_an_epoch_goes_on_exactly(images, tmp_path):
    views = data.make_views(images, quick_policy(), 8, seed=0)

    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 1):
                self.model.save(tmp_path / "model.keras")

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

    model = make()
    history = model.fit(views, epochs=2, verbose=0, callbacks=[Save()]).history
    again = keras.models.load_model(tmp_path / "model.keras")
    rest = again.fit(views, epochs=2, initial_epoch=1, initial_step=2, verbose=0).history
    for a, b in zip(weights(model), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {k: v[-1] for k, v in rest.items()} == pytest.approx(
        {k: v[-1] for k, v in history.items()}
    )
