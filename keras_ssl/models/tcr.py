"""TCR: the total coding rate maximised, the views aligned."""

import keras

from keras_ssl.losses import CodingRateLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class TCR(JointEmbeddingModel):
    """TCR: the total coding rate maximised, the views aligned. A dimension-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            4096-128 (the published CIFAR-10 recipe).
        criterion: A criterion. Default `CodingRateLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.TCR(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Li et al.: Neural manifold clustering and embedding, 2022.
    - Garrido et al., ICLR 2023: equation 22.
    """

    default_projector = "4096-128"
    default_criterion = CodingRateLoss
