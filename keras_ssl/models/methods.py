"""The methods of the paper, each of which is a default projector and a default criterion.

The criteria (`keras_ssl.losses`) document the formulas and the source of every constant.
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

# The end of the docstring of every method.
_SHARED = """\

Args:
    encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
    projector: A layer, or widths such as "2048-2048-512". Default: "{projector}".
    criterion: A criterion. Default: `{criterion}()`, with its published constants.
    probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
    **kwargs: `micro_batch_size`, `input_range`, `name`: see `JointEmbeddingModel`.

Example:
    >>> from keras_ssl import encoders, models
    >>> encoder = encoders.resnet18((32, 32, 3))
    >>> model = models.{method}(encoder, projector="256-256-64")
    >>> model.compile("adamw")
"""


def method(cls: Method) -> Method:
    """Registers a method with Keras, and adds the part that all methods share to its docstring."""
    defaults = {"projector": cls.default_projector, "method": cls.__name__}
    shared = _SHARED.format(**defaults, criterion=cls.default_criterion.__name__)  # type: ignore[union-attr]
    cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n{shared}"
    return keras.saving.register_keras_serializable(package="keras_ssl")(cls)


@method
class SimCLR(JointEmbeddingModel):
    """SimCLR, a sample-contrastive method that tells every image from all others by cross-entropy.

    The projector has one hidden layer, as in SimCLR's section 4.2; the best projector in the
    duality paper is 8192-8192-512. Its last layer is only linear here; the published code
    normalizes it.

    References:
        - Chen et al.: A simple framework for contrastive learning of visual representations, ICML
          2020.
        - Garrido et al., ICLR 2023: SimCLR-Tuned, Table S6 (tau 0.15).
    """

    default_projector = "2048-128"
    default_criterion = NTXentLoss


@method
class DCL(JointEmbeddingModel):
    """DCL, a sample-contrastive method: SimCLR without the positive in the denominator.

    The projector is that of SimCLR.

    References:
        - Yeh et al.: Decoupled contrastive learning, ECCV 2022.
        - Garrido et al., ICLR 2023: equation 15.
    """

    default_projector = "2048-128"
    default_criterion = DCLLoss


@method
class SpectralContrastive(JointEmbeddingModel):
    """SCL, the spectral contrastive method, a sample-contrastive one.

    The projector is that of the published ImageNet settings, which normalize its last layer. Here
    the last layer is only linear.

    References:
        - HaoChen et al.: Provable guarantees for self-supervised deep learning with spectral
          contrastive loss, NeurIPS 2021.
        - Garrido et al., ICLR 2023: equation 18.
    """

    default_projector = "8192-8192-8192"
    default_criterion = SpectralContrastiveLoss


@method
class VICRegCtr(JointEmbeddingModel):
    """VICReg-ctr, a sample-contrastive method: VICReg-exp on samples instead of dimensions.

    The projector is that of Table S4.

    References:
        - Garrido et al., ICLR 2023: equation 13, supplement L, Table S6.
    """

    default_projector = "8192-8192-512"
    default_criterion = VICRegCtrLoss


@method
class VICReg(JointEmbeddingModel):
    """VICReg, a dimension-contrastive method: invariance, variance and covariance.

    References:
        - Bardes et al.: VICReg: variance-invariance-covariance regularization, ICLR 2022.
        - Garrido et al., ICLR 2023: Table S6 for the tuned weights, Table S5 for projectors.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegLoss


@method
class VICRegExp(JointEmbeddingModel):
    """VICReg-exp, a dimension-contrastive method: VICReg with a log-sum-exp instead of squares.

    The projector is that of Table S4.

    References:
        - Garrido et al., ICLR 2023: equations 11 and 12, supplement L, Table S6.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegExpLoss


@method
class BarlowTwins(JointEmbeddingModel):
    """Barlow Twins, a dimension-contrastive method: the cross-correlation becomes the identity.

    The hidden layers of the published projector have no bias. Here they have one, but batch
    normalization cancels it.

    References:
        - Zbontar et al.: Barlow Twins: self-supervised learning via redundancy reduction, ICML
          2021.
        - Garrido et al., ICLR 2023: equation 19.
    """

    default_projector = "8192-8192-8192"
    default_criterion = BarlowTwinsLoss


@method
class TCR(JointEmbeddingModel):
    """TCR, a dimension-contrastive method: it maximizes the total coding rate and aligns the views.

    The projector is that of the published CIFAR-10 recipe.

    References:
        - Li et al.: Neural manifold clustering and embedding, 2022.
        - Garrido et al., ICLR 2023: equation 22.
    """

    default_projector = "4096-128"
    default_criterion = CodingRateLoss
