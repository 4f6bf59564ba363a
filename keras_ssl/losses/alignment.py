"""The cosine of two embeddings, and nothing that holds different images apart."""

from typing import ClassVar

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_mean


@keras.saving.register_keras_serializable(package="keras_ssl")
class AlignmentLoss(Criterion):
    """The negative mean cosine of the embeddings, the criterion of BYOL and SimSiam.

    - alignment: `-mean_i cos(z_1i, z_2i)`

    Loss = alignment. One embedding for all images would be perfect for it: what keeps them apart is
    in the model, a predictor behind which only one side learns (`keras_ssl.models.BYOL`,
    `keras_ssl.models.SimSiam`).

    SimSiam's loss is this, as a mean over both directions. BYOL's adds up `2 - 2 cos` over both,
    which is 4 times this, plus 4.

    Args:
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings or predictions, float (N, M), not normalized.
        z_2: Embeddings or targets, float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> float(AlignmentLoss()(np.eye(4), 2 * np.eye(4)))
        -1.0

    References:
        - Grill et al.: Bootstrap your own latent, NeurIPS 2020, equation 2.
        - Chen and He: Exploring simple siamese representation learning, CVPR 2021, equations 1
          and 2.
    """

    weights: ClassVar[dict[str, float]] = {"alignment": 1.0}  # type: ignore[misc]

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment."""
        z_1, z_2 = unit_embeddings(z_1), unit_embeddings(z_2)
        return {"alignment": -batch_mean(ops.sum(z_1 * z_2, axis=1))}
