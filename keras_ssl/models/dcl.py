"""DCL: SimCLR with the positive taken out of the denominator."""

import keras

from keras_ssl.losses import DCLLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class DCL(JointEmbeddingModel):
    """DCL: SimCLR with the positive taken out of the denominator. A sample-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            2048-128, as SimCLR.
        criterion: A criterion. Default `DCLLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.DCL(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Yeh et al.: Decoupled contrastive learning, ECCV 2022.
    - Garrido et al., ICLR 2023: equation 15.
    """

    default_projector = "2048-128"
    default_criterion = DCLLoss
