"""Turns images into batches of views."""

from typing import TYPE_CHECKING

from keras_ssl import _renames
from keras_ssl.data.augmentation.base import Augmentation
from keras_ssl.data.augmentation.blur import RandomGaussianBlur
from keras_ssl.data.augmentation.colors import RandomColorJitter, RandomGrayscale, RandomSolarize
from keras_ssl.data.augmentation.compose import Compose
from keras_ssl.data.augmentation.geometry import RandomFlip, RandomResizedCrop
from keras_ssl.data.augmentation.pixels import functions_for, to_unit_floats
from keras_ssl.data.batches import make_batches, make_views
from keras_ssl.data.epochs import Epochs
from keras_ssl.data.fingerprint import fingerprint
from keras_ssl.data.held_out import HeldOut, hold_out
from keras_ssl.data.image_set import ImageSet, Splits, split
from keras_ssl.data.pictures import view_grid
from keras_ssl.data.policies import (
    POLICIES,
    byol,
    colorless,
    multi_crop,
    multi_patch,
    policy,
    policy_for,
    simclr,
    simclr_cifar,
    simsiam,
    simsiam_cifar,
    tiny_gray,
    weak,
)
from keras_ssl.data.sources.arrays import from_arrays
from keras_ssl.data.sources.by_name import load
from keras_ssl.data.sources.folder import from_folder
from keras_ssl.data.sources.huggingface import from_huggingface
from keras_ssl.data.sources.manifest import from_manifest
from keras_ssl.data.sources.tfrecords import from_tfrecords
from keras_ssl.data.sources.webdataset import from_webdataset
from keras_ssl.data.stream import Stream
from keras_ssl.data.views import TwoViews, Views

__all__ = [
    "POLICIES",
    "Augmentation",
    "Compose",
    "Epochs",
    "HeldOut",
    "ImageSet",
    "RandomColorJitter",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomResizedCrop",
    "RandomSolarize",
    "Splits",
    "Stream",
    "TwoViews",
    "Views",
    "byol",
    "colorless",
    "fingerprint",
    "from_arrays",
    "from_folder",
    "from_huggingface",
    "from_manifest",
    "from_tfrecords",
    "from_webdataset",
    "functions_for",
    "hold_out",
    "load",
    "make_batches",
    "make_views",
    "multi_crop",
    "multi_patch",
    "policy",
    "policy_for",
    "simclr",
    "simclr_cifar",
    "simsiam",
    "simsiam_cifar",
    "split",
    "tiny_gray",
    "to_unit_floats",
    "view_grid",
    "weak",
]

if not TYPE_CHECKING:
    __getattr__ = _renames.moved(__name__, _renames.PYTHON[__name__])
