"""The methods of the paper as Keras models: `Method(encoder, projector=None, criterion=None)`."""

from keras_ssl.models.joint_embedding import JointEmbeddingModel
from keras_ssl.models.methods import (
    DCL,
    TCR,
    BarlowTwins,
    SimCLR,
    SpectralContrastive,
    VICReg,
    VICRegCtr,
    VICRegExp,
)

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
