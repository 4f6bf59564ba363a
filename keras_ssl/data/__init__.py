"""Images in, batches of two views out."""

from keras_ssl.data.augmentation import (
    Augmentation,
    Compose,
    RandomColorJitter,
    RandomFlip,
    RandomGaussianBlur,
    RandomGreyscale,
    RandomResizedCrop,
    RandomSolarize,
    to_unit_floats,
)
from keras_ssl.data.epochs import Epochs
from keras_ssl.data.fingerprint import fingerprint
from keras_ssl.data.image_set import ImageSet, Splits, split
from keras_ssl.data.policies import (
    POLICIES,
    TwoViews,
    byol,
    policy,
    policy_for,
    simclr,
    simclr_cifar,
    simsiam,
    tiny_grey,
    weak,
)
from keras_ssl.data.sources.arrays import from_arrays
from keras_ssl.data.sources.by_name import load
from keras_ssl.data.sources.folder import from_folder
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
    "RandomGreyscale",
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
    "tiny_grey",
    "to_unit_floats",
    "two_views",
    "view_grid",
    "weak",
]
