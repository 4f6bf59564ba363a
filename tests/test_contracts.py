"""Checks that the config of every public class holds all arguments and survives JSON."""

import importlib
import inspect
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from keras_ssl import data, layers, losses, models, optimizers, recipes
from tests.catalog import CRITERIA, METHODS, METRICS, SAVED, check_complete
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
    "AlignmentLoss": lambda: losses.AlignmentLoss(name="mine"),
    "MoCoLoss": lambda: losses.MoCoLoss(0.5, 64),
    "UniformityLoss": lambda: losses.UniformityLoss(2.0, 3.0, 4.0, 64),
    "MatrixEntropyLoss": lambda: losses.MatrixEntropyLoss(0.5, 2.0, 3.0, "dimensions", "gram"),
    "FroSSLLoss": lambda: losses.FroSSLLoss(2.0, "dimensions", "gram"),
    "IVNELoss": lambda: losses.IVNELoss(2.0, 3.0, "gram"),
    "GramAnchorLoss": lambda: losses.GramAnchorLoss("gram"),
    "GramAnchor": lambda: layers.GramAnchor(layers.Projector("8-4"), 0.5),
    "MMCRLoss": lambda: losses.MMCRLoss("gram"),
    "VIbCRegLoss": lambda: losses.VIbCRegLoss(2.0, 3.0, 4.0, "gram"),
    "WMSELoss": lambda: losses.WMSELoss(64, 0.5),
    "SIGRegLoss": lambda: losses.SIGRegLoss(0.5, 2, 64),
    "CodingRateLoss": lambda: losses.CodingRateLoss(2.0, 0.5, "gram"),
    "EMPSSLLoss": lambda: losses.EMPSSLLoss(2.0, 0.5, "gram"),
    # These all have the same constructor.
    **{
        name: lambda metric=metric: metric(4, name="mine", dtype="float32")
        for name, metric in METRICS.items()
    },
    "float64": lambda: losses.VICRegLoss(name="mine", dtype="float64"),
    "MovingAverage": lambda: layers.MovingAverage(
        layers.Projector("8-4"), optimizers.cosine_momentum(0.9, 10)
    ),
    "Predictor": lambda: layers.Predictor("8-4"),
    "Projector": lambda: layers.Projector("8-4", normalized=True),
    "OnlineProbe": lambda: layers.OnlineProbe(3, keras.optimizers.SGD(0.5)),
    "LARS": lambda: optimizers.LARS(0.5, 0.8, 0.1, 0.01, True, True, 0.5),
    "RandomResizedCrop": lambda: data.RandomResizedCrop((4, 4), (0.2, 0.9), (0.5, 2.0)),
    "RandomFlip": lambda: data.RandomFlip(0.3, seed=3),
    "RandomColorJitter": lambda: data.RandomColorJitter(0.1, 0.2, 0.3, 0.4, 0.5),
    "RandomGrayscale": lambda: data.RandomGrayscale(0.3),
    "RandomGaussianBlur": lambda: data.RandomGaussianBlur((0.5, 1.0), 0.3),
    "RandomSolarize": lambda: data.RandomSolarize(0.3, 0.6),
    "Compose": lambda: data.Compose([data.RandomFlip(), data.RandomSolarize()]),
    "Views": lambda: data.multi_crop((8, 8), local_count=2),
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


def test_every_public_class_has_a_row():
    check_complete(
        {type(make()).__name__ for make in OBJECTS.values()},
        SAVED,
        "add a row to OBJECTS in tests/test_contracts.py, with no argument left at its default",
    )


@pytest.mark.parametrize("name", {**SAVED, **METHODS})
def test_every_public_class_is_registered_and_documented(name):
    thing = {**SAVED, **METHODS}[name]
    assert "Args:" in thing.__doc__
    assert keras.saving.get_registered_name(thing) == f"keras_ssl>{name}"


def test_a_criterion_may_take_keywords():
    class Mine(losses.Criterion):
        def __init__(self, strength=1.0, **kwargs):
            super().__init__(**kwargs)
            self.strength = strength

    assert Mine(2.0, name="mine").get_config() == {"strength": 2.0, "name": "mine"}

    class Wide(losses.VICRegLoss):
        def __init__(self, margin=1.0, **kwargs):
            super().__init__(variance_weight=3.0, **kwargs)
            self.margin = margin

    again = Wide.from_config(Wide(2.0, covariance_weight=4.0).get_config())
    assert (again.margin, again.covariance_weight, again.variance_weight) == (2.0, 4.0, 3.0)


def test_a_criterion_may_leave_out_its_name():
    class Mine(losses.Criterion):
        def __init__(self, strength=1.0):
            super().__init__(name="mine")
            self.strength = strength

    again = Mine.from_config(Mine(2.0).get_config())
    assert (again.strength, again.name) == (2.0, "mine")


@keras.saving.register_keras_serializable(package="tests")
class Shade(data.Augmentation):
    """Has an argument of its own, and no `get_config`."""

    def __init__(self, probability=1.0, darkness=0.5, **kwargs):
        super().__init__(probability, **kwargs)
        self.darkness = darkness

    def augment(self, images, drawn):
        return self.darkness * images


@keras.saving.register_keras_serializable(package="tests")
class Slow(models.VICReg):
    """Has an argument of its own, and no `get_config`."""

    def __init__(self, encoder, projector=None, rate=0.5, **kwargs):
        super().__init__(encoder, projector, **kwargs)
        self.rate = rate


def test_arguments_of_a_class_without_get_config_are_saved():
    policy = data.TwoViews(data.Compose([Shade(0.5, darkness=0.1)]))
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(policy)))
    (shade,) = keras.saving.deserialize_keras_object(config).view_1.augmentations
    assert (shade.probability, shade.darkness) == (0.5, 0.1)
    config = json.loads(json.dumps(Slow(tiny_encoder(), "8-4", rate=0.25).get_config()))
    assert Slow.from_config(config).rate == 0.25
    schedule = optimizers.cosine_momentum(0.9, 10)
    again = Slow.from_config(Slow(tiny_encoder(), "8-4", rate=schedule).get_config())
    assert again.rate.get_config() == schedule.get_config()


def test_an_argument_that_is_not_stored_is_refused():
    class Forgets(data.Augmentation):
        def __init__(self, darkness=0.5):
            super().__init__()

    class Says(Forgets):
        def get_config(self):
            return {**super().get_config(), "darkness": 0.5}

    with pytest.raises(TypeError, match="`Forgets` must store its argument `darkness`"):
        Forgets().get_config()
    assert Says().get_config()["darkness"] == 0.5


# One of each family; the others take seconds each.
QUICK = ("SimCLR", "VICReg")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, id=name, marks=() if name in QUICK else pytest.mark.long)
        for name, method in METHODS.items()
    ],
)
def test_every_method_fits_saves_loads_and_goes_on_as_if_it_had_not(method, views, tmp_path):
    # Graphs take seconds to trace, and one method is enough to show that they make no difference,
    # and that batch statistics of the projector are saved.
    projector = "8-6" if method is models.VICReg else keras.layers.Dense(6)
    model = method(tiny_encoder(), projector, probe=3)
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


ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def from_folder(monkeypatch):
    """Imports a program of a folder, which finds its neighbors there."""

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        before = set(sys.modules)
        module = importlib.import_module(name)
        for new in set(sys.modules) - before:
            if (getattr(sys.modules[new], "__file__", None) or "").startswith(str(ROOT / folder)):
                del sys.modules[new]  # Its tables are of this test.
        return module

    return load


class NewLoss(losses.VICRegLoss):
    """A criterion that no benchmark has a row for."""


@pytest.fixture
def new_criterion(monkeypatch):
    monkeypatch.setattr(losses, "__all__", [*losses.__all__, "NewLoss"])
    monkeypatch.setattr(losses, "NewLoss", NewLoss, raising=False)


# The benchmarks measure the special cases of the family: VICReg, VICReg-exp, VICReg-ctr and L_c.
def test_losses_measures_every_criterion(from_folder, new_criterion):
    benchmark = from_folder("benchmarks", "losses")
    measured = {row[0] for row in benchmark.CRITERIA.values()}
    assert measured >= {*CRITERIA.values(), NewLoss} - {losses.VICRegFamilyLoss}
    # The rest of a row: it has another side, but neither a plain form nor a rival.
    steps = benchmark.contenders("NewLoss", 8, 4, None)
    assert list(steps) == ["ours", "other side"]
    seconds, results = benchmark.time_in_turns(steps, 0)
    assert benchmark.agreement(results) == {}
    record = {"criterion": "NewLoss", "samples": 8, "dimensions": 4, "seconds": seconds}
    assert benchmark.row_of(record).startswith("| NewLoss | 8, 4 | ")


def test_replicas_measures_every_criterion(from_folder, new_criterion):
    measured = {row[1] for row in from_folder("benchmarks", "replicas").CASES}
    assert measured >= {*CRITERIA.values(), NewLoss} - {losses.VICRegFamilyLoss}


def test_every_method_has_a_small_recipe():
    of_recipes = {recipe.model.__name__ for recipe in recipes.SMALL.values()}
    check_complete(of_recipes, METHODS, "add a recipe to SMALL in keras_ssl/recipes/small.py")


def test_tuning_gap_takes_every_method(from_folder, monkeypatch):
    class Neither(models.JointEmbeddingModel):
        default_projector, default_criterion = "8-4", losses.VICRegLoss

    monkeypatch.setitem(recipes.SMALL, "neither", recipes.small(Neither))
    script = from_folder("tuning", "tuning_gap")
    assert {name: len(methods) for name, methods in script.FAMILIES.items()} == {
        "sample-contrastive": 10,
        "dimension-contrastive": 8,
        "other": 7,
    }
    assert "neither" in script.METHODS and "byol" not in script.METHODS
    families = script.SAMPLE_CONTRASTIVE + script.DIMENSION_CONTRASTIVE
    assert set(families) <= {recipes.SMALL[name].model for name in script.METHODS}


EXAMPLES_IN = (
    *("callbacks", "data", "distribution", "duality", "encoders", "evaluation", "exporting"),
    *("finetuning", "hypermodels", "inspection", "layers", "losses", "models", "optimizers"),
    *("recipes", "retrieval", "spaces", "studies"),
)


@pytest.mark.parametrize("package", EXAMPLES_IN)
def test_every_public_callable_has_an_example(package):
    module = importlib.import_module(f"keras_ssl.{package}")
    for name in module.__all__:
        part = getattr(module, name)
        is_error = isinstance(part, type) and issubclass(part, BaseException)
        # The results of calls, such as `spaces.temperature`, are called "<lambda>" or "space".
        if callable(part) and getattr(part, "__name__", None) == name and not is_error:
            assert ">>>" in (part.__doc__ or ""), name
