"""Barlow Twins: the views' cross-correlation made the identity."""

import keras

from keras_ssl.losses import BarlowTwinsLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class BarlowTwins(JointEmbeddingModel):
    """Barlow Twins: the views' cross-correlation made the identity. A dimension-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            8192-8192-8192 (Barlow Twins, whose hidden layers have no bias;
            here they do, where batch normalisation makes it idle).
        criterion: A criterion. Default `BarlowTwinsLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.BarlowTwins(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Zbontar et al.: Barlow Twins: self-supervised learning via redundancy reduction, ICML 2021.
    - Garrido et al., ICLR 2023: equation 19.
    """

    default_projector = "8192-8192-8192"
    default_criterion = BarlowTwinsLoss
