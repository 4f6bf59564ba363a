"""VICReg: invariance, variance, covariance."""

import keras

from keras_ssl.losses import VICRegLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICReg(JointEmbeddingModel):
    """VICReg: invariance, variance, covariance. A dimension-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            8192-8192-8192 (VICReg).
        criterion: A criterion. Default `VICRegLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.VICReg(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Bardes et al.: VICReg: variance-invariance-covariance regularization, ICLR 2022.
    - Garrido et al., ICLR 2023: Table S6 for the tuned weights, Table S5 for projectors.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegLoss
