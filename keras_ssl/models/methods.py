"""The methods of the paper: each a default projector and a default criterion.

The formulas, and the source of every constant, are with the criteria (`keras_ssl.losses`).
"""

import inspect
from typing import TypeVar

import keras

from keras_ssl.losses import (
    BarlowTwinsLoss,
    CodingRateLoss,
    DCLLoss,
    NTXentLoss,
    SpectralContrastiveLoss,
    VICRegCtrLoss,
    VICRegExpLoss,
    VICRegLoss,
)
from keras_ssl.models.joint_embedding import JointEmbeddingModel

Method = TypeVar("Method", bound=type[JointEmbeddingModel])

# What the docstrings of all methods go on with.
_SHARED = """\

Args:
    encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
    projector: A layer, or widths such as "2048-2048-512". Default "{projector}".
    criterion: A criterion. Default `{criterion}()`, with its published constants.
    probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
    **kwargs: `micro_batch_size`, `input_range`, `name`: see `JointEmbeddingModel`.

Example:
    >>> from keras_ssl import encoders, models
    >>> encoder = encoders.resnet18((32, 32, 3))
    >>> model = models.{method}(encoder, projector="256-256-64")
    >>> model.compile("adamw")
"""


def method(cls: Method) -> Method:
    """Registers a method with Keras, and ends its docstring with what all methods share."""
    defaults = {"projector": cls.default_projector, "method": cls.__name__}
    shared = _SHARED.format(**defaults, criterion=cls.default_criterion.__name__)  # type: ignore[union-attr]
    cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n{shared}"
    return keras.saving.register_keras_serializable(package="keras_ssl")(cls)


@method
class SimCLR(JointEmbeddingModel):
    """SimCLR: every image against all others, by cross-entropy. A sample-contrastive method.

    The projector has one hidden layer, as in SimCLR's section 4.2; the best of the duality paper is
    8192-8192-512. Its last layer is bare here; the published code normalizes it.

    References:
        - Chen et al.: A simple framework for contrastive learning of visual representations, ICML
          2020.
        - Garrido et al., ICLR 2023: SimCLR-Tuned, Table S6 (tau 0.15).
    """

    default_projector = "2048-128"
    default_criterion = NTXentLoss


@method
class DCL(JointEmbeddingModel):
    """DCL: SimCLR without the positive in the denominator. A sample-contrastive method.

    The projector is SimCLR's.

    References:
        - Yeh et al.: Decoupled contrastive learning, ECCV 2022.
        - Garrido et al., ICLR 2023: equation 15.
    """

    default_projector = "2048-128"
    default_criterion = DCLLoss


@method
class SpectralContrastive(JointEmbeddingModel):
    """The spectral contrastive method (SCL). A sample-contrastive method.

    The projector is that of the published ImageNet settings, whose last layer is normalized; it is
    bare here.

    References:
        - HaoChen et al.: Provable guarantees for self-supervised deep learning with spectral
          contrastive loss, NeurIPS 2021.
        - Garrido et al., ICLR 2023: equation 18.
    """

    default_projector = "8192-8192-8192"
    default_criterion = SpectralContrastiveLoss


@method
class VICRegCtr(JointEmbeddingModel):
    """VICReg-ctr: VICReg-exp on samples instead of dimensions. A sample-contrastive method.

    The projector is that of Table S4.

    References:
        - Garrido et al., ICLR 2023: equation 13, supplement L, Table S6.
    """

    default_projector = "8192-8192-512"
    default_criterion = VICRegCtrLoss


@method
class VICReg(JointEmbeddingModel):
    """VICReg: invariance, variance, covariance. A dimension-contrastive method.

    References:
        - Bardes et al.: VICReg: variance-invariance-covariance regularization, ICLR 2022.
        - Garrido et al., ICLR 2023: Table S6 for the tuned weights, Table S5 for projectors.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegLoss


@method
class VICRegExp(JointEmbeddingModel):
    """VICReg-exp: VICReg with a log-sum-exp for squares. A dimension-contrastive method.

    The projector is that of Table S4.

    References:
        - Garrido et al., ICLR 2023: equations 11 and 12, supplement L, Table S6.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegExpLoss


@method
class BarlowTwins(JointEmbeddingModel):
    """Barlow Twins: the cross-correlation of the views becomes the identity. Dimension-contrastive.

    The hidden layers of the published projector have no bias; here they do, where batch
    normalization makes it idle.

    References:
        - Zbontar et al.: Barlow Twins: self-supervised learning via redundancy reduction, ICML
          2021.
        - Garrido et al., ICLR 2023: equation 19.
    """

    default_projector = "8192-8192-8192"
    default_criterion = BarlowTwinsLoss


@method
class TCR(JointEmbeddingModel):
    """TCR: the total coding rate is maximized, the views are aligned. Dimension-contrastive.

    The projector is that of the published CIFAR-10 recipe.

    References:
        - Li et al.: Neural manifold clustering and embedding, 2022.
        - Garrido et al., ICLR 2023: equation 22.
    """

    default_projector = "4096-128"
    default_criterion = CodingRateLoss
