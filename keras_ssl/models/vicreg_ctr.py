"""VICReg-ctr: VICReg-exp on samples instead of dimensions."""

import keras

from keras_ssl.losses import VICRegCtrLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegCtr(JointEmbeddingModel):
    """VICReg-ctr: VICReg-exp on samples instead of dimensions. A sample-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            8192-8192-512 (Table S4).
        criterion: A criterion. Default `VICRegCtrLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.VICRegCtr(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Garrido et al., ICLR 2023: equation 13, supplement L, Table S6.
    """

    default_projector = "8192-8192-512"
    default_criterion = VICRegCtrLoss
