"""What a person would choose who knows the images and the machine.

Each choice is returned with its reason, and a run says both.
"""

import math
import pathlib
from typing import Any, NamedTuple

from keras_ssl import data
from keras_ssl._backend import has_accelerator
from keras_ssl.data.sources.idx import is_idx
from keras_ssl.data.sources.shards import is_shards

# Pixels to a side for photos. Without an accelerator, four times the pixels are four times the
# time; with one, 128 pixels keep most of what a photo shows.
_PHOTO_SIZES = {False: 64, True: 128}
# How many images a run sees in all, both views of an image counted once, and the fewest and the
# most epochs that this may take. On CIFAR-10, ten epochs bring ResNet-8 most of what it can learn.
_IMAGES_SEEN = {False: (250_000, 10, 100), True: (20_000_000, 20, 400)}
# Steps of an epoch: with fewer, a small set would train on one or two large batches alone.
_FEWEST_STEPS = 4
# Encoders from the fastest to the best. A budget pays for a better one if it leaves enough epochs.
# Images below 32 px lose too much by a strided stem.
_ENCODERS = {
    "tiny": ("resnet8", "resnet18"),
    False: ("resnet8-strided", "resnet18"),
    True: ("resnet18", "resnet50"),
}
# The settings of `keras_ssl.recipes.TUNED`: the sides in pixels that they are for, and encoders
# from the fastest to the one that they were found with.
_COLOR = "color-32px"
_TUNED_SIDES = range(28, 41)
_TUNED_ENCODERS = {_COLOR: ("resnet8-strided", "resnet8-wide")}
# Why `keras_ssl.data.policy_for` chooses each policy.
_POLICY_REASONS = {
    "colorless": "neither gray nor red, green and blue",
    "byol": "more than 64 px",
    "tiny_gray": "gray, at most 64 px",
    "simclr_cifar": "colors, at most 64 px",
}


class Choice(NamedTuple):
    """A setting, and why it was chosen."""

    value: Any
    reason: str


def machine() -> str:
    """Says whether there is an accelerator."""
    return "with an accelerator" if has_accelerator() else "without an accelerator"


def image_size(source: Any) -> Choice | None:
    """Chooses the size of photos in files or shards; other images keep their own."""
    path = pathlib.Path(str(source))
    is_photos = (
        "://" in str(source)
        or path.suffix in (".csv", ".tsv")
        or is_shards(str(source))
        or (path.is_dir() and not is_idx(path))
    )
    if not is_photos:
        return None
    size = _PHOTO_SIZES[has_accelerator()]
    return Choice(size, f"{size} px, {machine()}")


def policy(image_shape: tuple[int, int, int]) -> Choice:
    """Chooses the augmentation of images of a shape (height, width, channels)."""
    name = data.policy_for(image_shape)
    return Choice(name, _POLICY_REASONS[name])


def method(image_shape: tuple[int, int, int], may_be_tuned: bool = True) -> Choice:
    """Chooses the settings for images of a shape (height, width, channels).

    Args:
        image_shape: The shape.
        may_be_tuned: Whether all that tuned settings consist of is free.
    """
    *sides, channels = image_shape
    fits = channels == 3 and all(side in _TUNED_SIDES for side in sides)
    if fits and may_be_tuned and not has_accelerator():
        return Choice(_COLOR, f"colors, {_TUNED_SIDES[0]} to {_TUNED_SIDES[-1]} px, {machine()}")
    return Choice("vicreg", "")


def encoder(image_shape: tuple[int, int, int], method: Any = None) -> Choice:
    """Chooses the encoder of a run without a budget."""
    if method in list(_TUNED_ENCODERS):
        return Choice(_TUNED_ENCODERS[method][-1], f", which goes with {method}")
    name = encoders(image_shape, method)[0]
    return Choice(name, f", for {image_shape[0]} px {machine()}")


def encoders(image_shape: tuple[int, int, int], method: Any) -> tuple[str, ...]:
    """Returns the encoders that a budget chooses from, from the fastest to the best."""
    if method in list(_TUNED_ENCODERS):
        return _TUNED_ENCODERS[method]
    return _ENCODERS["tiny" if image_shape[0] < 32 else has_accelerator()]


def batch_size(usual: int, images: int) -> Choice:
    """Chooses the images of a step: as many as usual, unless that leaves an epoch too few steps.

    Args:
        usual: Images of a step that the method's settings name.
        images: Images, or groups, of an epoch.
    """
    most = 2 ** max(int(math.log2(max(images // _FEWEST_STEPS, 1))), 1)
    if most >= usual:
        return Choice(usual, "")
    return Choice(most, f"so that an epoch has {_FEWEST_STEPS} steps or more")


def epochs(images: int) -> Choice:
    """Chooses how many epochs a number of images needs."""
    seen, fewest, most = _IMAGES_SEEN[has_accelerator()]
    number = min(max(round(seen / images), fewest), most)
    return Choice(number, f"{number * images:,} images seen, {machine()}")
