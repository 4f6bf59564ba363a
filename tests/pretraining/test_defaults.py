import pytest

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
