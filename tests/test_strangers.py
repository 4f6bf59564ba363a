"""Classes and functions of a user's own, registered with Keras, work wherever ours do."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest

from keras_ssl import (
    callbacks,
    data,
    hypermodels,
    losses,
    models,
    recipes,
    registry,
    runs,
    spaces,
    studies,
)
from keras_ssl.pretraining import options as options_
from keras_ssl.pretraining.setup import _name_folder
from keras_ssl.pretraining.words import resume_command
from tests import stranger
from tests.conftest import tiny_encoder
from tests.programs import parse, pretrain

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = recipes.Recipe(
    stranger.Uniformity,
    projector="8-4",
    batch_size=16,
    base_learning_rate=0.1,
    weight_decay=1e-4,
    epochs=1,
    policy="stranger>crops",
    source="a stranger's",
    criterion={"uniformity_weight": 0.5},
    optimizer=stranger.nadam,
)
GENERAL = ["base learning rate", "weight decay", "projector width", "augmentation strength"]


def there_and_back(recipe):
    return recipes.Recipe.from_config(json.loads(json.dumps(recipe.get_config())))


def build_tiny(hp, image_shape):
    return tiny_encoder()


def searched(space, recipe):
    hp = keras_tuner.HyperParameters()
    space(hp, recipe)
    return list(hp.values)


class TestRecipe:
    def test_names_in_a_config(self):
        config = RECIPE.get_config()
        assert config["model"] == "stranger>Uniformity"
        assert config["optimizer"] == "stranger>nadam" and config["policy"] == "stranger>crops"
        assert there_and_back(RECIPE) == RECIPE

    def test_a_recipe_from_its_config_trains(self, images):
        recipe = there_and_back(RECIPE)
        model = recipe.build_model(tiny_encoder())
        views = data.make_views(images, recipe.build_policy(), recipe.batch_size)
        model.compile(recipe.build_optimizer(len(views)), run_eagerly=True)
        history = model.fit(views, epochs=recipe.epochs, verbose=0).history
        assert type(model) is stranger.Uniformity
        assert model.criterion.uniformity_weight == 0.5
        assert type(model.optimizer) is keras.optimizers.Nadam
        assert np.isfinite(history["uniformity"]).all()

    @pytest.mark.parametrize("model", [models.JointEmbeddingModel, models.SimCLR])
    def test_a_criterion_in_the_place_of_the_methods_own(self, model):
        changes = {"model": model, "criterion_class": stranger.PlainLoss}
        recipe = dataclasses.replace(RECIPE, **changes)
        assert recipe.get_config()["criterion_class"] == "stranger>PlainLoss"
        assert there_and_back(recipe) == recipe
        criterion = recipe.build_model(tiny_encoder()).criterion
        assert type(criterion) is stranger.PlainLoss and criterion.uniformity_weight == 0.5

    def test_our_criteria_have_short_names_there(self):
        recipe = dataclasses.replace(RECIPE, criterion_class=losses.DCLLoss, criterion={})
        assert recipe.get_config()["criterion_class"] == "DCLLoss"
        assert there_and_back(recipe) == recipe

    def test_a_config_from_before_there_was_a_criterion_class(self):
        config = RECIPE.get_config()
        del config["criterion_class"]
        assert recipes.Recipe.from_config(config) == RECIPE

    def test_an_optimizer_by_a_class(self):
        recipe = there_and_back(dataclasses.replace(RECIPE, optimizer=stranger.Lion))
        optimizer = recipe.build_optimizer(steps_per_epoch=10)
        assert type(optimizer) is stranger.Lion
        assert optimizer.weight_decay == RECIPE.weight_decay
        assert optimizer.beta_1 == 0.9  # Lion's second argument.

    def test_what_does_not_make_an_optimizer(self):
        recipe = dataclasses.replace(RECIPE, optimizer=lambda rate, decay: "adam")
        with pytest.raises(TypeError, match="`optimizer` must make a keras.optimizers.Optimizer"):
            recipe.build_optimizer(10)

    def test_the_strength_of_a_policy(self):
        crop = dataclasses.replace(RECIPE, strength=0.5).build_policy().view_1
        assert crop.scale[0] == 0.75
        without = dataclasses.replace(RECIPE, policy="stranger>flips")
        assert isinstance(without.build_policy(), data.TwoViews)
        with pytest.raises(ValueError, match="`strength` must be 1 for the policy 'stranger>flips"):
            dataclasses.replace(without, strength=0.5).build_policy()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("model", type("Unknown", (stranger.Uniformity,), {})),
            ("criterion_class", type("UnknownLoss", (stranger.UniformityLoss,), {})),
            ("optimizer", lambda rate, decay: None),
        ],
    )
    def test_what_is_not_registered_has_no_name(self, name, value, images, tmp_path):
        recipe = dataclasses.replace(RECIPE, **{name: value})
        message = f"`{name}` must be registered with Keras.*register_keras_serializable"
        with pytest.raises(ValueError, match=message):
            recipe.get_config()
        # A study refuses it before a trial is run.
        held = data.hold_out(data.Splits(images, None))
        arm = hypermodels.PretrainingHyperModel(recipe, held, spaces.learning_rate, build_tiny)
        with pytest.raises(ValueError, match=message):
            studies.Study(tmp_path / "study", {"arm": arm})
        assert not (tmp_path / "study").exists()

    @pytest.mark.parametrize("name", ["model", "criterion_class", "optimizer", "policy"])
    def test_an_unknown_name(self, name):
        config = {**RECIPE.get_config(), name: "elsewhere>Thing"}
        message = f"`{name}` must be one of .*--import my_module.*'elsewhere>Thing'"
        with pytest.raises(ValueError, match=message):
            recipes.Recipe.from_config(config).build_policy()

    def test_a_name_of_another_kind(self):
        for name in ("model", "criterion_class"):
            with pytest.raises(ValueError, match=f"`{name}` must be"):
                recipes.Recipe.from_config({**RECIPE.get_config(), name: "stranger>crops"})

    def test_a_criterion_class_of_another_type(self):
        for value in (stranger.UniformityLoss(), "UniformityLoss", keras.losses.Loss):
            with pytest.raises(TypeError, match="`criterion_class` must be a subclass"):
                dataclasses.replace(RECIPE, criterion_class=value)

    def test_methods(self):
        found = recipes.methods()
        assert list(found)[: len(recipes.SMALL)] == list(recipes.SMALL)
        assert found["stranger>Uniformity"].model is stranger.Uniformity
        assert not any(name.startswith("keras_ssl>") for name in found)


class TestSpaces:
    def test_all_settings(self):
        assert searched(spaces.all_settings, RECIPE) == ["uniformity weight", *GENERAL]

    def test_a_criterion_without_ranges_gets_the_general_space_and_is_told(self):
        recipe = dataclasses.replace(RECIPE, criterion_class=stranger.PlainLoss)
        with pytest.warns(UserWarning, match="PlainLoss has no `search_ranges`: none of its"):
            assert searched(spaces.all_settings, recipe) == GENERAL

    def test_a_policy_without_strength(self):
        recipe = dataclasses.replace(RECIPE, policy="stranger>flips")
        assert searched(spaces.all_settings, recipe) == ["uniformity weight", *GENERAL[:-1]]

    def test_a_range_that_the_criterion_does_not_give(self):
        recipe = dataclasses.replace(RECIPE, criterion_class=stranger.PlainLoss)
        space = spaces.criterion_setting("uniformity_weight")
        with pytest.raises(ValueError, match="`argument` must be one of .*uniformity_weight"):
            searched(space, recipe)


class TestImport:
    def test_modules_in_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        (tmp_path / "first_of_mine.py").write_text("VALUE = 1\n")
        (tmp_path / "second_of_mine.py").write_text("VALUE = 2\n")
        arguments = ["--import", "first_of_mine", "--epochs", "3", "--import=second_of_mine"]
        assert registry.import_named(arguments) == ["--epochs", "3"]
        assert sys.modules.pop("first_of_mine").VALUE == 1
        assert sys.modules.pop("second_of_mine").VALUE == 2

    def test_an_error_names_methods_that_are_registered(self):
        with pytest.raises(ValueError, match="`method` must be one of") as error:
            pretrain(["--method", "?", "--import", "tests.stranger"])
        assert "stranger>Uniformity" in str(error.value) and "barlow-twins" in str(error.value)

    def test_options_by_registered_names(self, monkeypatch):
        arguments = ["--method", "stranger>Uniformity", "--optimizer", "stranger>Lion"]
        arguments += ["--criterion", "uniformity_weight=3", "--import", "tests.stranger"]
        options = parse(arguments)
        recipe = options_.make_recipe(options, (8, 8, 1))
        assert recipe.model is stranger.Uniformity and recipe.optimizer is stranger.Lion
        assert recipe.criterion == {"uniformity_weight": 3}
        assert recipe.policy == data.policy_for((8, 8, 1))
        options = parse([*arguments, "--policy", "stranger>flips"])
        recipe = options_.make_recipe(options, (8, 8, 1))
        assert isinstance(recipe.build_policy(), data.TwoViews)
        assert ">" not in str(_name_folder(options).path)
        options = parse(["--optimizer", "elsewhere>adam", "--method", "vicreg"])
        with pytest.raises(ValueError, match="`optimizer` must be one of .*adamw.*--import"):
            options_.make_recipe(options, (8, 8, 1))

    def test_a_row_with_a_policy_of_its_own(self, monkeypatch):
        """A module may add a row to `SMALL`, whose settings stay."""
        monkeypatch.setitem(recipes.SMALL, "uniformity", RECIPE)
        options = parse(["--method", "uniformity"])
        assert options_.make_recipe(options, (8, 8, 1)) == RECIPE

    @pytest.mark.parametrize("name", ["nowhere_to_be_found", "my_module.py", "", ".relative"])
    def test_what_is_no_module(self, name):
        with pytest.raises(ValueError, match="--import must be the name of a module"):
            registry.import_modules([name])

    def test_nothing_that_a_file_names_is_imported(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "harmful.py").write_text("raise SystemExit('imported')\n")
        for name in ("harmful>Method", "harmful.Method", "harmful"):
            recipe = {**RECIPE.get_config(), "model": name}
            content = {"recipe": recipe, "encoder": "resnet8", "options": {"imports": ["harmful"]}}
            (tmp_path / "config.json").write_text(json.dumps(content))
            options = parse(["--config", "config.json"])
            with pytest.raises(ValueError, match="`config` must be .*--import my_module"):
                options_.make_recipe(options, (8, 8, 1))
        # Nor by a run that goes on.
        options = {"recipe": "harmful>Method", "imports": ["harmful"]}
        (tmp_path / "config.json").write_text(json.dumps({"options": options}))
        with pytest.raises(
            ValueError, match="`resume` takes the options of the run; remove epochs"
        ):
            parse(["--resume", str(tmp_path), "--epochs", "3"])
        options = parse(["--resume", str(tmp_path)])
        with pytest.raises(ValueError, match="`method` must be one of .*--import"):
            options_.make_recipe(options, (8, 8, 1))
        assert "harmful" not in sys.modules


@pytest.fixture
def best(images, tmp_path):
    """What a study leaves of a stranger's method."""
    held = data.hold_out(data.Splits(images, None))
    arm = hypermodels.PretrainingHyperModel(RECIPE, held, encoder=build_tiny)
    results = studies.Study(tmp_path / "study", {"uniformity": arm}, trials=1, seeds=1).run()
    assert {row["status"] for row in results.rows} == {"completed"}
    assert "uniformity weight" in results.arms["uniformity"].settings
    return tmp_path / "study" / "best" / "uniformity.json"


# The script as it is, but for an encoder that is quick to trace.
PRETRAIN = """
import sys
from keras_ssl import cli, encoders
from tests.conftest import tiny_encoder
from tests.programs import parse, pretrain
encoders.ENCODERS["resnet8"] = lambda shape: tiny_encoder()
cli.main()
"""


@pytest.mark.slow
def test_a_study_and_a_run_from_its_best_settings(best, tmp_path, monkeypatch):
    """In a process of its own, which knows of the stranger by `--import` alone."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", PRETRAIN, "pretrain", "--smoke", "--epochs", "1"]
    command += ["--config", str(best), "--encoder", "resnet8", "--no-probe", "--out", str(run)]
    command += ["--import", "tests.stranger"]
    paths = os.pathsep.join(map(str, (ROOT / "examples", ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((run / "config.json").read_text())
    assert config["options"]["imports"] == ["tests.stranger"]
    found = recipes.Recipe.from_config(config["recipe"])
    wanted = recipes.Recipe.from_config(json.loads(best.read_text())["recipe"])
    assert found.criterion == wanted.criterion and found.model is stranger.Uniformity
    assert (found.optimizer, found.policy) == (stranger.nadam, "stranger>crops")
    model = keras.models.load_model(callbacks.latest_checkpoint(run / "checkpoints"))
    assert type(model) is stranger.Uniformity and type(model.optimizer) is keras.optimizers.Nadam
    # A run that goes on names the module again.
    options = parse(["--resume", str(run), "--import", "tests.stranger"])
    assert options_.make_recipe(options, (8, 8, 1)) == found
    assert resume_command(runs.RunFolder(run), options).endswith(f"{run} --import tests.stranger")
    options.source = data.load("digits").train
    assert resume_command(runs.RunFolder(run), options) == (
        f"keras_ssl.pretrain(resume={str(run)!r}, source=source)"
    )
