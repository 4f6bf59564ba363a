"""Images in, batches of two views out."""

from typing import TYPE_CHECKING

from keras_ssl import _renames
from keras_ssl.data.augmentation import (
    Augmentation,
    Compose,
    RandomColorJitter,
    RandomFlip,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomResizedCrop,
    RandomSolarize,
    to_unit_floats,
)
from keras_ssl.data.datasets import ImageSet, Splits, from_arrays, from_folder, load, split
from keras_ssl.data.epochs import Epochs
from keras_ssl.data.fingerprint import fingerprint
from keras_ssl.data.policies import (
    POLICIES,
    TwoViews,
    byol,
    policy,
    policy_for,
    simclr,
    simclr_cifar,
    simsiam,
    tiny_gray,
    weak,
)
from keras_ssl.data.views import two_views, view_grid

__all__ = [
    "POLICIES",
    "Augmentation",
    "Compose",
    "Epochs",
    "ImageSet",
    "RandomColorJitter",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomResizedCrop",
    "RandomSolarize",
    "Splits",
    "TwoViews",
    "byol",
    "fingerprint",
    "from_arrays",
    "from_folder",
    "load",
    "policy",
    "policy_for",
    "simclr",
    "simclr_cifar",
    "simsiam",
    "split",
    "tiny_gray",
    "to_unit_floats",
    "two_views",
    "view_grid",
    "weak",
]

if not TYPE_CHECKING:
    __getattr__ = _renames.moved(__name__, _renames.PYTHON[__name__])
