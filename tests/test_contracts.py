"""What every public class owes Keras: a config that holds all arguments and survives JSON."""

import inspect
import json

import keras
import numpy as np
import pytest

from keras_ssl import data, duality, layers, losses, models, optimizers
from tests.conftest import tiny_encoder

OBJECTS = {
    "VICRegFamilyLoss": lambda: losses.VICRegFamilyLoss("samples", "squares", 2.0, 3.0, 4.0, 0.5),
    "VICRegLoss": lambda: losses.VICRegLoss(2.0, 3.0, 4.0, "gram"),
    "VICRegExpLoss": lambda: losses.VICRegExpLoss(2.0, 3.0, 4.0, 0.5, 64),
    "VICRegCtrLoss": lambda: losses.VICRegCtrLoss(2.0, 3.0, 4.0, 0.5, "batch", 64),
    "BarlowTwinsLoss": lambda: losses.BarlowTwinsLoss(0.1, "covariance"),
    "NTXentLoss": lambda: losses.NTXentLoss(0.5, "same_view", "squared", "dimensions", 64),
    "DCLLoss": lambda: losses.DCLLoss(0.5, "cross_view", "absolute", "centered_embeddings", 64),
    "SpectralContrastiveLoss": lambda: losses.SpectralContrastiveLoss(2.0, "same_view", "gram"),
    "CodingRateLoss": lambda: losses.CodingRateLoss(2.0, 0.5, "gram"),
    "RankMe": lambda: duality.RankMe(4, name="mine"),
    "Theorem33Residual": lambda: duality.Theorem33Residual(4, dtype="float32"),
    "DualityMonitor": lambda: duality.DualityMonitor(4),
    "float64": lambda: losses.VICRegLoss(name="mine", dtype="float64"),
    "Projector": lambda: layers.Projector("8-4"),
    "OnlineProbe": lambda: layers.OnlineProbe(3, keras.optimizers.SGD(0.5)),
    "LARS": lambda: optimizers.LARS(0.5, 0.8, 0.1, 0.01, True, True, 0.5),
    "RandomResizedCrop": lambda: data.RandomResizedCrop((4, 4), (0.2, 0.9), (0.5, 2.0)),
    "RandomFlip": lambda: data.RandomFlip(0.3, seed=3),
    "RandomColorJitter": lambda: data.RandomColorJitter(0.1, 0.2, 0.3, 0.4, 0.5),
    "RandomGrayscale": lambda: data.RandomGrayscale(0.3),
    "RandomGaussianBlur": lambda: data.RandomGaussianBlur((0.5, 1.0), 0.3),
    "RandomSolarize": lambda: data.RandomSolarize(0.3, 0.6),
    "Compose": lambda: data.Compose([data.RandomFlip(), data.RandomSolarize()]),
    "TwoViews": lambda: data.byol((8, 8)),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_config_holds_every_argument_and_survives_json(name):
    thing = OBJECTS[name]()
    arguments = {
        parameter
        for parameter, kind in inspect.signature(type(thing).__init__).parameters.items()
        if kind.kind is kind.POSITIONAL_OR_KEYWORD and parameter not in ("self", "dtype")
    }
    config = thing.get_config()
    assert arguments <= set(config)
    serialized = json.dumps(keras.saving.serialize_keras_object(thing))
    again = keras.saving.deserialize_keras_object(json.loads(serialized))
    assert type(again) is type(thing)
    assert json.dumps(keras.saving.serialize_keras_object(again)) == serialized


@pytest.mark.parametrize("package", [losses, layers, models, optimizers, data, duality])
def test_every_public_class_is_registered_and_documented(package):
    for name in package.__all__:
        thing = getattr(package, name)
        if not inspect.isclass(thing) or not issubclass(
            thing,
            (
                keras.layers.Layer,
                keras.losses.Loss,
                keras.metrics.Metric,
                keras.optimizers.Optimizer,
            ),
        ):
            continue
        assert "Args:" in thing.__doc__, name
        if name not in ("Criterion", "Augmentation"):  # bases, never saved
            assert keras.saving.get_registered_name(thing) == f"keras_ssl>{name}"


def test_a_criterion_may_take_keywords():
    class Mine(losses.Criterion):
        def __init__(self, strength=1.0, **kwargs):
            super().__init__(**kwargs)
            self.strength = strength

    assert Mine(2.0, name="mine").get_config() == {"strength": 2.0, "name": "mine"}


METHODS = [
    models.BarlowTwins,
    models.DCL,
    models.SimCLR,
    models.SpectralContrastive,
    models.TCR,
    models.VICReg,
    models.VICRegCtr,
    models.VICRegExp,
]


def test_every_method_is_in_the_table():
    public = {getattr(models, name) for name in models.__all__} - {models.JointEmbeddingModel}
    assert public == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_saves_loads_and_goes_on_as_if_it_had_not(method, views, tmp_path):
    model = method(tiny_encoder(), "8-6", probe=3)
    # Graphs take seconds to trace: one method is enough to show that they make no difference.
    model.compile(
        optimizers.LARS(optimizers.warmup_cosine(0.3, 16, 3, 4, 1)),
        run_eagerly=method is not models.VICReg,
    )
    history = model.fit(views, steps_per_epoch=3, epochs=1, verbose=0, shuffle=False).history
    assert set(history) == {"loss", "probe_loss", "probe_accuracy", *model.criterion.weights}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is method

    for either in (model, again):
        either.fit(views, steps_per_epoch=3, epochs=2, initial_epoch=1, verbose=0, shuffle=False)
    assert len(model.variables) == len(again.variables)
    for a, b in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.probe.optimizer.variables, again.probe.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
