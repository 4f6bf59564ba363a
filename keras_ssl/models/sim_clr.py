"""SimCLR: every image against all others, by cross-entropy with a temperature."""

import keras

from keras_ssl.losses import NTXentLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class SimCLR(JointEmbeddingModel):
    """SimCLR: every image against all others, by cross-entropy. A sample-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            2048-128, one hidden layer (SimCLR, section 4.2); the duality paper's best is
            8192-8192-512. The last layer is bare here; the published code normalises it.
        criterion: A criterion. Default `NTXentLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.SimCLR(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - Chen et al.: A simple framework for contrastive learning of visual representations, ICML 2020.
    - Garrido et al., ICLR 2023: SimCLR-Tuned, Table S6 (tau 0.15).
    """

    default_projector = "2048-128"
    default_criterion = NTXentLoss
