"""The methods of the paper as Keras models: `Method(encoder, projector=None, criterion=None)`."""

from keras_ssl.models.barlow_twins import BarlowTwins
from keras_ssl.models.dcl import DCL
from keras_ssl.models.joint_embedding import JointEmbeddingModel
from keras_ssl.models.sim_clr import SimCLR
from keras_ssl.models.spectral import SpectralContrastive
from keras_ssl.models.tcr import TCR
from keras_ssl.models.vicreg import VICReg
from keras_ssl.models.vicreg_ctr import VICRegCtr
from keras_ssl.models.vicreg_exp import VICRegExp

__all__ = [
    "BarlowTwins",
    "DCL",
    "JointEmbeddingModel",
    "SimCLR",
    "SpectralContrastive",
    "TCR",
    "VICReg",
    "VICRegCtr",
    "VICRegExp",
]
