"""The spectral contrastive method (SCL)."""

import keras

from keras_ssl.losses import SpectralContrastiveLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class SpectralContrastive(JointEmbeddingModel):
    """The spectral contrastive method (SCL). A sample-contrastive method.

    Args:
        encoder: Any Keras model from images to representations; see `JointEmbeddingModel`.
        projector: A layer, or widths such as "2048-2048-512". Default
            8192-8192-8192 (the published ImageNet settings, whose last layer is normalised;
            it is bare here).
        criterion: A criterion. Default `SpectralContrastiveLoss()`, with its published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Example:
        >>> from keras_ssl import encoders, models
        >>> encoder = encoders.resnet18((32, 32, 3))
        >>> model = models.SpectralContrastive(encoder, projector="256-256-64")
        >>> model.compile("adamw")

    References:
    - HaoChen et al.: Provable guarantees for self-supervised deep learning with spectral
      contrastive loss, NeurIPS 2021.
    - Garrido et al., ICLR 2023: equation 18.
    """

    default_projector = "8192-8192-8192"
    default_criterion = SpectralContrastiveLoss
