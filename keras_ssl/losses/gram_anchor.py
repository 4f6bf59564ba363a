"""How far the similarities of the samples have moved from where they were.

References:
    - Simeoni et al.: DINOv3, 2025, section 4 (Gram anchoring, there of the patches of an image).
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import SIDES, Side, gram_distance, select_log_det_side
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_size


@keras.saving.register_keras_serializable(package="keras_ssl")
class GramAnchorLoss(Criterion):
    """The squared distance of the two matrices of cosines between samples.

    Each embedding is scaled to norm 1. The term is:

    - distance: `||z_1 z_1^T - z_2 z_2^T||_F^2 / N^2`, the mean squared difference of two cosines

    A rotation of either side changes nothing: what is held are the similarities, not the features.
    The paper's theorem makes it a matter of (M, M) matrices where these are smaller.
    `keras_ssl.encoders.anchored` adds it to the training of any method.

    Args:
        side: The matrix of products: "gram", (N, N); "covariance", (M, M); "auto", the smaller.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Representations, float (N, M), not normalized.
        z_2: Those of the anchor, float (N, M), not normalized.

    Returns:
        Scalar loss, in [0, 4]; see `Criterion`.

    Raises:
        ValueError: if the side is unknown, or the embeddings are invalid (see `Criterion`).

    Example:
        A rotation costs nothing. If two of four cosines go from 0 to 1, the mean square is 1/2.

        >>> import numpy as np
        >>> rotated, collapsed = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.ones((2, 2))
        >>> [round(float(GramAnchorLoss()(z, np.eye(2))), 3) for z in (rotated, collapsed)]
        [0.0, 0.5]
    """

    def __init__(self, side: str = "auto", name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of the only term."""
        return {"distance": 1.0}

    @property
    def attractive(self) -> tuple[str, ...]:  # noqa: D102
        return ("distance",)

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_det_side(samples, dimensions, self.side)

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the distance of the matrices of cosines."""
        n = ops.cast(batch_size(z_1), z_1.dtype)
        distance = gram_distance(unit_embeddings(z_1), unit_embeddings(z_2), self.side)
        return {"distance": distance / ops.square(n)}
