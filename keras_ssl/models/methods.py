"""Methods that are a default projector and a default criterion: those of the paper, and relatives.

The criteria (`keras_ssl.losses`) document the formulas and the source of every constant.
"""

import inspect
from typing import TypeVar

import keras

from keras_ssl.losses import (
    BarlowTwinsLoss,
    CodingRateLoss,
    DCLLoss,
    EMPSSLLoss,
    FroSSLLoss,
    IVNELoss,
    MMCRLoss,
    NTXentLoss,
    SIGRegLoss,
    SpectralContrastiveLoss,
    UniformityLoss,
    VIbCRegLoss,
    VICRegCtrLoss,
    VICRegExpLoss,
    VICRegLoss,
    WMSELoss,
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
{more}\
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
    defaults["more"] = cls.argument_docs.format(cls=cls)
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


@method
class EMPSSL(JointEmbeddingModel):
    """EMP-SSL, a dimension-contrastive method: TCR of many patches of each image.

    Takes any number of views, such as those of `keras_ssl.data.multi_patch`. The published code
    judges what comes out of the first layer of this projector, with its batch normalization and
    ReLU, averaged over 128 patches of an image; here, the encoder is judged on whole images.

    References:
        - Tong et al.: EMP-SSL: Towards self-supervised learning in one training epoch, 2023 (arXiv
          2304.03977).
    """

    default_projector = "4096-4096-1024"
    default_criterion = EMPSSLLoss


@method
class AlignmentUniformity(JointEmbeddingModel):
    """Alignment and uniformity, a sample-contrastive method with a Gaussian kernel on the sphere.

    The projector is that of SimCLR.

    References:
        - Wang and Isola: Understanding contrastive representation learning through alignment and
          uniformity on the hypersphere, ICML 2020.
    """

    default_projector = "2048-128"
    default_criterion = UniformityLoss


@method
class VIbCReg(JointEmbeddingModel):
    """VIbCReg, a dimension-contrastive method: VICReg with correlations in place of covariances.

    The projector is that of solo-learn's settings for CIFAR-10, without the iterative normalization
    at its end.

    References:
        - Lee and Aune: VIbCReg, 2021 (arXiv 2109.00783).
    """

    default_projector = "2048-2048-2048"
    default_criterion = VIbCRegLoss


@method
class WMSE(JointEmbeddingModel):
    """W-MSE, dimension-contrastive as a constraint: views are compared after whitening.

    The projector is that of the published settings for CIFAR-10. Batches need more images than the
    embeddings have dimensions.

    References:
        - Ermolov et al.: Whitening for self-supervised representation learning, ICML 2021.
    """

    default_projector = "1024-64"
    default_criterion = WMSELoss


@method
class FroSSL(JointEmbeddingModel):
    """FroSSL, on both sides at once: the logarithm of ||Z^T Z||_F, which is ||Z Z^T||_F.

    The projector is that of the published settings for CIFAR-10. Takes any number of views.

    References:
        - Skean et al.: FroSSL: Frobenius norm minimization for efficient multiview self-supervised
          learning, ECCV 2024.
    """

    default_projector = "2048-2048-1024"
    default_criterion = FroSSLLoss


@method
class IVNE(JointEmbeddingModel):
    """I-VNE+, on both sides at once: von Neumann's entropy of the spectrum, and aligned views.

    The projector is that of FroSSL's published settings for it. Takes any number of views.

    References:
        - Kim et al.: VNE, CVPR 2023.
    """

    default_projector = "2048-2048-1024"
    default_criterion = IVNELoss


@method
class MMCR(JointEmbeddingModel):
    """MMCR, on both sides at once: the nuclear norm of the centers of the images' views.

    The projector is that of the published settings for CIFAR-10. Takes any number of views.

    References:
        - Yerxa et al.: Learning efficient coding of natural images with maximum manifold capacity
          representations, NeurIPS 2023.
    """

    default_projector = "512-128"
    default_criterion = MMCRLoss


@method
class LeJEPA(JointEmbeddingModel):
    """LeJEPA: views predict their mean, and SIGReg makes embeddings normal along all directions.

    Neither sample- nor dimension-contrastive by the duality paper's Definition 3.2, but with two
    sides: directions of the dimensions, and a kernel on pairs of samples, on which it is computed.
    The projector is that of the published minimal example. Takes any number of views, such as those
    of `keras_ssl.data.multi_crop`, with `criterion=SIGRegLoss(global_views=2)`.

    References:
        - Balestriero and LeCun: LeJEPA: Provable and scalable self-supervised learning without the
          heuristics, 2025 (arXiv 2511.08544).
    """

    default_projector = "2048-2048-16"
    default_criterion = SIGRegLoss
