import pytest

from keras_ssl import data
from keras_ssl.pretraining import defaults


@pytest.mark.parametrize(
    ("images", "chosen"), [(100_000, 128), (512, 128), (511, 64), (60, 8), (8, 2), (1, 2)]
)
def test_an_epoch_of_few_images_has_four_steps(images, chosen):
    choice = defaults.batch_size(128, images)
    assert choice.value == chosen
    assert bool(choice.reason) == (chosen < 128)


def test_small_images_keep_their_size_at_the_stem():
    assert defaults.encoders((28, 28, 1))[0] == "resnet8"
    assert defaults.encoders((32, 32, 3))[0] != "resnet8"


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (65, 65, 1), (64, 64, 13)])
def test_every_policy_has_its_reason(shape):
    value, reason = defaults.policy(shape)
    assert value == data.policy_for(shape)
    assert reason
