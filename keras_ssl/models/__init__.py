"""Methods as Keras models: `Method(encoder, projector=None, criterion=None)`."""

from keras_ssl.models.joint_embedding import JointEmbeddingModel
from keras_ssl.models.methods import (
    DCL,
    EMPSSL,
    IVNE,
    MMCR,
    TCR,
    WMSE,
    AlignmentUniformity,
    BarlowTwins,
    FroSSL,
    LeJEPA,
    SimCLR,
    SpectralContrastive,
    VIbCReg,
    VICReg,
    VICRegCtr,
    VICRegExp,
)
from keras_ssl.models.predictive import BYOL, Distillation, MoCoV3, SimSiam

__all__ = [
    "AlignmentUniformity",
    "BYOL",
    "BarlowTwins",
    "DCL",
    "Distillation",
    "EMPSSL",
    "FroSSL",
    "IVNE",
    "JointEmbeddingModel",
    "LeJEPA",
    "MMCR",
    "MoCoV3",
    "SimCLR",
    "SimSiam",
    "SpectralContrastive",
    "TCR",
    "VICReg",
    "VICRegCtr",
    "VICRegExp",
    "VIbCReg",
    "WMSE",
]
