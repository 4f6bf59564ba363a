import pytest

from keras_ssl import data, recipes
from keras_ssl.pretraining import defaults


@pytest.mark.parametrize(
    ("images", "chosen"), [(100_000, 128), (512, 128), (511, 64), (60, 8), (8, 2), (1, 2)]
)
def test_an_epoch_of_few_images_has_four_steps(images, chosen):
    choice = defaults.batch_size(128, images)
    assert choice.value == chosen
    assert bool(choice.reason) == (chosen < 128)


def test_small_images_keep_their_size_at_the_stem():
    assert defaults.encoder((28, 28, 1)).value == "resnet8"
    assert defaults.encoder((32, 32, 3)).value != "resnet8"


@pytest.mark.parametrize(
    ("shape", "chosen"),
    [
        ((32, 32, 3), "color-32px"),
        ((28, 40, 3), "color-32px"),
        ((32, 32, 1), "vicreg"),
        ((27, 32, 3), "vicreg"),
        ((64, 64, 3), "vicreg"),
    ],
)
def test_small_color_images_have_settings_of_their_own(shape, chosen, monkeypatch):
    monkeypatch.setattr(defaults, "has_accelerator", lambda: False)
    assert defaults.method(shape).value == chosen
    assert defaults.method(shape, may_be_tuned=False).value == "vicreg"
    is_tuned = chosen in recipes.TUNED
    assert (defaults.encoder(shape, chosen).value == "resnet8-wide") == is_tuned
    assert "resnet8-strided" in defaults.encoders((32, 32, 3), chosen)
    monkeypatch.setattr(defaults, "has_accelerator", lambda: True)
    assert defaults.method(shape).value == "vicreg"


def test_a_recipe_of_ones_own_is_no_tuned_one():
    assert defaults.encoder((32, 32, 3), recipes.TUNED["color-32px"]).value == "resnet8-strided"


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (65, 65, 1), (64, 64, 13)])
def test_every_policy_has_its_reason(shape):
    value, reason = defaults.policy(shape)
    assert value == data.policy_for(shape)
    assert reason
