import dataclasses
import json
import random

import keras
import numpy as np
import pytest

from keras_ssl import data, losses, models, optimizers, recipes
from tests.conftest import tiny_encoder

ALL = {**recipes.SMALL, **recipes.PUBLISHED, **recipes.TUNED}


@pytest.mark.parametrize("name", list(ALL))
def test_every_recipe_builds(name):
    recipe = ALL[name]
    model = recipe.build_model(tiny_encoder())
    assert type(model) is recipe.model
    for argument, value in recipe.criterion.items():
        assert getattr(model.criterion, argument) == value
    schedule = recipe.build_optimizer(steps_per_epoch=10)._learning_rate
    warmup = min(recipe.warmup_epochs, recipe.epochs / 10) * 10
    peak = recipe.base_learning_rate * recipe.batch_size / 256
    assert float(schedule(round(warmup))) == pytest.approx(peak)
    assert recipe.policy in data.POLICIES and recipe.source


@pytest.mark.parametrize(
    ("name", "batch_size", "base_lr", "weights", "temperature"),
    [
        ("vicreg-d256", 1024, 0.3, (25, 25, 4), None),
        ("vicreg-d512", 1024, 0.3, (25, 25, 2), None),
        ("vicreg-d1024", 1024, 0.3, (25, 25, 2), None),
        ("vicreg-d2048", 1024, 0.3, (25, 25, 2), None),
        ("vicreg-d8192", 1024, 0.3, (25, 25, 0.5), None),
        ("vicreg-exp-d2048", 1024, 0.5, (1, 1, 2), 0.1),
        ("vicreg-exp-d8192", 1024, 0.8, (1, 1, 2), 0.1),
        ("vicreg-ctr-d512", 1024, 0.6, (1, 1, 1), 0.15),
        ("simclr-tuned-d512", 2048, 0.5, None, 0.15),
    ],
)
def test_table_s6(name, batch_size, base_lr, weights, temperature):
    recipe = recipes.PUBLISHED[name]
    criterion = recipe.build_model(tiny_encoder()).criterion
    assert (recipe.batch_size, recipe.base_learning_rate) == (batch_size, base_lr)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.weight_decay) == (100, 10, 1e-6)
    assert isinstance(recipe.build_optimizer(10), optimizers.LARS)
    if weights is not None:
        assert tuple(criterion.weights.values()) == weights
    if temperature is not None:
        assert criterion.temperature == temperature


def test_arguments_of_the_method():
    recipe = recipes.SMALL["byol"]
    model = recipe.build_model(tiny_encoder())
    assert (model.hidden, model.momentum) == ("1024", 0.95)
    assert recipe.build_model(tiny_encoder(), momentum=0.5).momentum == 0.5
    assert "arguments" not in recipes.SMALL["simclr"].get_config()
    whole = dataclasses.replace(recipe, arguments={"micro_batch_size": np.int64(4)})
    config = json.loads(json.dumps(whole.get_config()))
    assert recipes.Recipe.from_config(config) == whole


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"momentun": 0.9}, ValueError, "arguments of BYOL, which are .*'momentum'.*'momentun'"),
        ({"encoder": None}, ValueError, "arguments of BYOL.*'encoder'"),
        ({"momentum": optimizers.cosine_momentum(0.9, 10)}, ValueError, "numbers, words, or lists"),
        ([("momentum", 0.9)], TypeError, "`arguments` must be a dictionary"),
    ],
)
def test_wrong_arguments_of_the_method(arguments, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(recipes.SMALL["byol"], arguments=arguments)


def test_the_size_of_the_views():
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], policy="simclr_cifar", view_size=6)
    assert recipes.Recipe.from_config(json.loads(json.dumps(recipe.get_config()))) == recipe
    assert "view_size" not in recipes.SMALL["vicreg"].get_config()
    views = recipe.build_policy()(np.zeros((2, 8, 8, 3), "uint8"), training=True)
    assert [tuple(view.shape) for view in views] == [(2, 6, 6, 3)] * 2
    assert recipe.view_shape((8, 8, 3)) == (None, 6, 6, 3)
    assert recipes.SMALL["vicreg"].view_shape((8, 8, 1)) == (None, 8, 8, 1)
    with pytest.raises(ValueError, match="`image_shape` must be .*8, 8"):
        recipe.view_shape((8, 8))
    with pytest.raises(ValueError, match="`view_size` must be .*Received: view_size=0"):
        dataclasses.replace(recipe, view_size=0)


def test_the_policy_that_fits_images(monkeypatch):
    photos, small = (128, 128, 3), recipes.SMALL["vicreg"]
    assert small.for_images(photos).policy == "byol"
    assert small.for_images(photos, policy="weak", epochs=3).policy == "weak"
    monkeypatch.setitem(keras.saving.get_custom_objects(), "mine>policy", data.weak)
    assert dataclasses.replace(small, policy="mine>policy").for_images(photos).policy == (
        "mine>policy"
    )
    # An old name is one of ours.
    old = dataclasses.replace(small, policy="tiny_grey")
    assert (old.policy, old.for_images(photos).policy) == ("tiny_gray", "byol")


def test_views_of_several_sizes(monkeypatch):
    monkeypatch.setitem(data.POLICIES, "mine", lambda: data.multi_crop((8, 8), (4, 4), 1))
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], policy="mine")
    large, small = (None, 8, 8, 3), (None, 4, 4, 3)
    assert recipe.view_shape((8, 8, 3)) == (large, large, small)


def test_looking_at_the_shapes_of_views_changes_no_seed():
    random.seed(3)
    before = random.getstate()
    recipes.SMALL["vicreg"].view_shape((8, 8, 1))
    assert random.getstate() == before


def test_a_policy_that_makes_no_views(monkeypatch):
    monkeypatch.setitem(data.POLICIES, "mine", lambda: 3)
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], policy="mine")
    with pytest.raises(TypeError, match="`policy` must be a keras_ssl.data.Views.*3"):
        recipe.build_policy()


def test_a_policy_that_takes_no_size(monkeypatch):
    monkeypatch.setitem(data.POLICIES, "mine", lambda: data.weak())
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], policy="mine")
    assert recipe.build_policy() is not None
    with pytest.raises(ValueError, match="`view_size` must be None for the policy 'mine'.*=6"):
        dataclasses.replace(recipe, view_size=6).build_policy()


def test_a_method_of_your_own_has_its_own_projector_but_no_inherited_one(monkeypatch):
    own = type("Own", (models.JointEmbeddingModel,), {"default_projector": "64-32"})
    own.default_criterion = losses.VICRegLoss
    inherits = type("Inherits", (models.VICReg,), {})
    known = {"my>Own": own, "my>Inherits": inherits}
    monkeypatch.setattr("keras.saving.get_custom_objects", lambda: known)
    found = recipes.methods()
    assert found["my>Own"].projector == "64-32"
    assert found["my>Inherits"].projector == recipes.SMALL["vicreg"].projector


def test_a_recipe_without_a_method():
    from keras_ssl import models

    recipe = recipes.Recipe(models.JointEmbeddingModel, "8-4", 16, 0.1, 0.0, 10, "byol", "test")
    with pytest.raises(ValueError, match="`model` must have a criterion.*JointEmbeddingModel"):
        recipe.build_model(tiny_encoder())


@pytest.mark.parametrize("name", list(ALL))
def test_a_config_is_json_and_gives_the_recipe_back(name):
    recipe = ALL[name]
    recipe = dataclasses.replace(recipe, strength=0.5)
    config = json.loads(json.dumps(recipe.get_config()))
    assert recipes.Recipe.from_config(config) == recipe
    assert recipe.build_policy() is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "DINO"}, "`model` must be one of .*SimCLR.*DINO"),
        ({"model": None}, "`model` must be one of"),
        ({"optimizer": "adam"}, "`optimizer` must be one of .*adamw.*adam"),
        ({"momentum": 1}, "`recipe` must be one of .*momentum"),
    ],
)
def test_a_config_of_something_else(change, message):
    config = {**recipes.SMALL["vicreg"].get_config(), **change}
    with pytest.raises(ValueError, match=message):
        recipes.Recipe.from_config(config)


class AnySettings(losses.NTXentLoss):
    def __init__(self, name=None, dtype=None, **settings):
        super().__init__(name=name, dtype=dtype)
        self.settings = settings


def test_settings_that_the_criterion_does_not_have():
    """They are refused when the recipe is made, before anything is built."""
    message = r"`criterion` must be settings of NTXentLoss.*'temperature'.*Received: 'momentum'"
    with pytest.raises(ValueError, match=message):
        recipes.small(models.SimCLR, momentum=0.99)
    simclr = recipes.SMALL["simclr"]
    with pytest.raises(ValueError, match=message):
        recipes.Recipe.from_config({**simclr.get_config(), "criterion": {"momentum": 0.99}})
    with pytest.raises(ValueError, match="settings of VICRegLoss.*Received: 'temperature'"):
        dataclasses.replace(
            simclr, criterion={"temperature": 0.1}, criterion_class=losses.VICRegLoss
        )
    assert recipes.small(models.SimCLR, temperature=0.2, dtype="float32").criterion
    # One that takes any settings says itself what is wrong; without a criterion there are none.
    dataclasses.replace(simclr, criterion={"momentum": 0.99}, criterion_class=AnySettings)
    recipes.small(models.JointEmbeddingModel, momentum=0.99)


def test_what_published_codes_do_apart_from_the_rule():
    """Rates that the batch does not scale, another rate for biases, and no warm-up."""
    tcr = recipes.PUBLISHED["tcr-cifar10"].build_optimizer(steps_per_epoch=10)
    assert float(tcr._learning_rate(60 * 10)) == pytest.approx(0.3, rel=0.03)
    assert tcr.clip_trust_ratio and tcr.trust_coefficient == 0.02
    twins = recipes.PUBLISHED["barlow-twins-imagenet"].build_optimizer(steps_per_epoch=10)
    assert twins.one_dimensional_factor == pytest.approx(0.0048 / 0.2)
    scl = recipes.PUBLISHED["scl-imagenet"].build_optimizer(steps_per_epoch=10)
    assert float(scl._learning_rate(0)) == pytest.approx(0.05 * 384 / 256)


@pytest.mark.parametrize(
    "change", [{"model": "VICReg"}, {"optimizer": "lars"}, {"criterion": None}]
)
def test_parts_of_another_type_are_refused_when_a_recipe_is_made(change):
    (name,) = change
    with pytest.raises(TypeError, match=f"`{name}` must be"):
        dataclasses.replace(recipes.SMALL["vicreg"], **change)
