"""The criteria of both families, each a `keras.losses.Loss`: `loss(z_1, z_2)`."""

from keras_ssl.losses.alignment import AlignmentLoss
from keras_ssl.losses.barlow_twins import BarlowTwinsLoss
from keras_ssl.losses.coding_rate import CodingRateLoss, EMPSSLLoss
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.dcl import DCLLoss
from keras_ssl.losses.gram_anchor import GramAnchorLoss
from keras_ssl.losses.matrix_entropy import FroSSLLoss, IVNELoss, MatrixEntropyLoss
from keras_ssl.losses.mmcr import MMCRLoss
from keras_ssl.losses.moco import MoCoLoss
from keras_ssl.losses.nt_xent import NTXentLoss
from keras_ssl.losses.sigreg import SIGRegLoss
from keras_ssl.losses.spectral import SpectralContrastiveLoss
from keras_ssl.losses.uniformity import UniformityLoss
from keras_ssl.losses.vibcreg import VIbCRegLoss
from keras_ssl.losses.vicreg import VICRegCtrLoss, VICRegExpLoss, VICRegFamilyLoss, VICRegLoss
from keras_ssl.losses.w_mse import WMSELoss

__all__ = [
    "AlignmentLoss",
    "BarlowTwinsLoss",
    "CodingRateLoss",
    "Criterion",
    "DCLLoss",
    "EMPSSLLoss",
    "FroSSLLoss",
    "GramAnchorLoss",
    "IVNELoss",
    "MMCRLoss",
    "MatrixEntropyLoss",
    "MoCoLoss",
    "NTXentLoss",
    "SIGRegLoss",
    "SpectralContrastiveLoss",
    "UniformityLoss",
    "VICRegCtrLoss",
    "VICRegExpLoss",
    "VICRegFamilyLoss",
    "VICRegLoss",
    "VIbCRegLoss",
    "WMSELoss",
    "on_shards",
]
