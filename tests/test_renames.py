"""What earlier versions wrote loads, and gives the figures that they computed."""

import importlib
import inspect
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ssl import _renames, data, hypermodels, losses, recipes, spaces, studies
from keras_ssl.commands.pretrain import pretrain
from keras_ssl.pretraining import options as options_
from tests.fixtures.make_9b29164 import batch, checksum, plain
from tests.programs import parse

ROOT = pathlib.Path(__file__).parents[1]
BEFORE = ROOT / "tests" / "fixtures" / "9b29164"
EXPECTED = json.loads((BEFORE / "expected.json").read_text())


def read(name):
    return json.loads((BEFORE / name).read_text())


# --- Files of the commit before ------------------------------------------------------------------


# Keras reads the files of its earlier versions, not of later ones: these are of 3.15.
of_keras_3_15 = pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15),
    reason="the fixtures were saved by Keras 3.15",
)


@pytest.mark.long
@of_keras_3_15
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vicreg", {"side": "gram"}),
        ("family", {"contrast": "samples", "penalty": "squares", "side": "covariance"}),
        ("simclr", {"temperature": 0.15}),
    ],
)
def test_a_model_goes_on_with_the_same_numbers(name, settings):
    model = keras.models.load_model(BEFORE / f"{name}.keras")
    for argument, value in settings.items():
        assert getattr(model.criterion, argument) == value
    expected = EXPECTED[name]
    assert checksum(model) == expected["weights"]
    views, labels = batch()
    y = labels if model.probe is not None else None
    found = model.evaluate(views, y, batch_size=6, verbose=0, return_dict=True)
    assert plain(found) == pytest.approx(expected["evaluated"], rel=1e-5, abs=1e-6)
    model.reset_metrics()
    found = model.train_on_batch(views, y, return_dict=True)
    assert plain(found) == pytest.approx(expected["next step"], rel=1e-5, abs=1e-6)


@pytest.mark.long
@of_keras_3_15
def test_importing_the_library_is_enough():
    paths = [str(path) for path in sorted(BEFORE.glob("*.keras"))]
    assert len(paths) == 4
    code = f"import keras, keras_ssl\nfor path in {paths}: keras.models.load_model(path)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_policy_makes_the_same_views():
    policy = keras.models.load_model(BEFORE / "policy.keras").get_layer("views")
    assert isinstance(policy.view_1.augmentations[1], data.RandomGrayscale)
    images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 3)).astype("uint8")
    views = policy(images, training=True, seed=[1, 2])
    found = [np.mean(view, axis=(1, 2)) for view in views]
    np.testing.assert_allclose(found, EXPECTED["policy"]["views"], rtol=1e-6)


@pytest.mark.parametrize("name", ["recipe.json", "study/best/vicreg.json"])
def test_a_recipe(name):
    config = read(name)
    recipe = recipes.Recipe.from_config(config.get("recipe", config))
    assert recipe.policy == "tiny_gray" and recipe.projector == "8-4"
    assert recipe.criterion == {"side": "covariance", "covariance_weight": 2.0}


def test_a_run_goes_on(tmp_path):
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    options = parse(["--resume", str(tmp_path / "run")])
    recipe = options_.make_recipe(options, (8, 8, 1))
    assert options.policy == recipe.policy == "tiny_gray"
    assert recipe.criterion == {"side": "gram"}
    # What `--config` makes of the same file.
    assert recipes.Recipe.from_config(read("run/config.json")["recipe"]) == recipe


def test_a_study_goes_on(tmp_path):
    shutil.copytree(BEFORE / "study", tmp_path / "study")
    pixels = np.random.RandomState(0).randint(0, 256, (48, 8, 8, 1)).astype("uint8")
    images = data.hold_out(data.Splits(data.from_arrays(pixels, np.arange(48) % 3), None))

    def arm(config):
        recipe = recipes.Recipe.from_config(config)
        return hypermodels.PretrainingHyperModel(recipe, images, space=spaces.learning_rate)

    config = read("recipe.json")
    studies.Study(tmp_path / "study", {"vicreg": arm(config)}, trials=1, seeds=1)
    config["criterion"]["gram"] = "samples"
    with pytest.raises(studies.StudyFolderError, match='side: "covariance" there, "gram" asked'):
        studies.Study(tmp_path / "study", {"vicreg": arm(config)}, trials=1, seeds=1)


def test_the_best_settings_of_all_studies_here():
    paths = list((ROOT / "tuning" / "results").glob("*/best/*.json"))
    assert paths
    for path in paths:
        recipe = recipes.Recipe.from_config(json.loads(path.read_text())["recipe"])
        assert recipe.policy in data.POLICIES, path


# --- The table -----------------------------------------------------------------------------------


def test_a_policy_has_its_old_name():
    assert type(data.policy("tiny_grey")) is data.TwoViews
    with pytest.raises(ValueError, match=r"`policy` must be one of .*\['tiny_grey'\]"):
        data.policy(["tiny_grey"])


@pytest.mark.parametrize(("old", "new"), _renames.CLASSES.items())
def test_every_old_class_is_registered(old, new):
    cls = keras.saving.get_registered_object(new)
    assert cls is keras.saving.get_registered_object(old) is not None
    assert keras.saving.get_registered_name(cls) == new


@pytest.mark.parametrize("registered", _renames.ARGUMENTS)
def test_every_argument_is_todays(registered):
    cls = keras.saving.get_registered_object(registered)
    known = set(inspect.signature(cls.__init__).parameters)
    for old, new in _renames.ARGUMENTS[registered].items():
        assert new.name in known and old not in known


def test_every_name_of_a_setting_is_todays():
    options = set(inspect.signature(pretrain).parameters)
    for table, known in (
        (_renames.POLICIES, data.POLICIES),
        (_renames.RECIPES, {**recipes.SMALL, **recipes.PUBLISHED}),
        (_renames.OPTIONS, options),
    ):
        assert set(table.values()) <= set(known) and not set(table) & set(known)


@pytest.mark.parametrize(
    ("module", "old"), [(module, old) for module, names in _renames.PYTHON.items() for old in names]
)
def test_every_old_name_in_python_says_its_new_one(module, old):
    home = importlib.import_module(module)
    new = _renames.PYTHON[module][old]
    with pytest.warns(DeprecationWarning, match=rf"`{module}.{old}` is now `.*{new}`") as record:
        found = getattr(home, old)
    name = new if "." in new else f"{module}.{new}"
    place, _, attribute = name.rpartition(".")
    assert found is getattr(importlib.import_module(place), attribute)
    assert record[0].filename == __file__  # Where the old name stands.
    assert old not in home.__all__


def test_a_name_that_there_never_was():
    with pytest.raises(AttributeError, match="module 'keras_ssl.data' has no attribute 'colour'"):
        data.colour  # noqa: B018


# --- Strangers -----------------------------------------------------------------------------------


class Inherits(losses.VICRegFamilyLoss):
    """Takes what its parent takes."""


class HasItsOwn(losses.VICRegLoss):
    """Has an argument of its own that happens to have an old name."""

    def __init__(self, gram="mine", name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.gram = gram


def test_a_class_of_ones_own_inherits_the_renames():
    criterion = Inherits.from_config({"matrix": "samples", "gram": "samples"})
    assert (criterion.contrast, criterion.side) == ("samples", "gram")


def test_a_class_of_ones_own_keeps_its_arguments():
    assert HasItsOwn.from_config({"gram": "samples"}).gram == "samples"


def test_an_argument_by_both_names_is_refused():
    with pytest.raises(TypeError, match="gram"):
        losses.VICRegLoss.from_config({"gram": "samples", "side": "gram"})
