"""VICReg-exp: VICReg with a log-sum-exp in the place of squares."""

import keras

from keras_ssl.losses import VICRegExpLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegExp(JointEmbeddingModel):
    """VICReg-exp: VICReg with a log-sum-exp for squares. A dimension-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            8192-8192-8192 (Table S4).
        criterion: A criterion. Default `VICRegExpLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.VICRegExp(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Garrido et al., ICLR 2023: equations 11 and 12, supplement L, Table S6.
    """

    default_projector = "8192-8192-8192"
    default_criterion = VICRegExpLoss
