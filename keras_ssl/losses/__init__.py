"""The criteria of both families, each a `keras.losses.Loss`: `loss(z_1, z_2)`."""

from keras_ssl.losses.barlow_twins import BarlowTwinsLoss
from keras_ssl.losses.coding_rate import CodingRateLoss
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.dcl import DCLLoss
from keras_ssl.losses.nt_xent import NTXentLoss
from keras_ssl.losses.spectral import SpectralContrastiveLoss
from keras_ssl.losses.vicreg import VICRegCtrLoss, VICRegExpLoss, VICRegFamilyLoss, VICRegLoss

__all__ = [
    "BarlowTwinsLoss",
    "CodingRateLoss",
    "Criterion",
    "DCLLoss",
    "NTXentLoss",
    "SpectralContrastiveLoss",
    "VICRegCtrLoss",
    "VICRegExpLoss",
    "VICRegFamilyLoss",
    "VICRegLoss",
    "on_shards",
]
