"""TCR, the total coding rate, which makes embeddings fill as large a volume as they can.

References:
    - Li et al.: Neural manifold clustering and embedding, 2022, and its published code.
    - Garrido et al., ICLR 2023: equations 22 and 37.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_non_negative, check_positive
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import SIDES, Side, log_det, select_log_det_side
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_mean, batch_size


@keras.saving.register_keras_serializable(package="keras_ssl")
class CodingRateLoss(Criterion):
    """The negative total coding rate (TCR) of the embeddings, plus the alignment of the views.

    Each embedding is scaled to norm 1. The terms are:

    - alignment: `-mean_i z_1i . z_2i`
    - coding_rate: `-1/2 log det(I + M / (N epsilon^2) z^T z)`, averaged over the two views

    Loss = alignment_weight * alignment + coding_rate, as in the published code. The coding rate has
    a minus sign because a collapsed batch has the smallest one.

    Args:
        alignment_weight: Weight of the alignment, at least 0. Default 30, as in the published
            CIFAR-10 recipe.
        distortion: epsilon squared, positive. Default 0.2, as in the published code (whose "eps" is
            the square). The alpha of the duality paper is M / (N distortion).
        side: The matrix that the determinant is computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the smaller. The value and the gradient are the same (Sylvester).
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M), not normalized.
        z_2: Embeddings of the second views, float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the weight is negative, the distortion is not positive, the side is unknown,
            or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> distinct, collapsed = np.eye(4), np.ones((4, 4))
        >>> loss = CodingRateLoss()
        >>> bool(loss(distinct, distinct) < loss(collapsed, collapsed))
        True
    """

    # Around the published 30 and 0.2. The ranges are our choice.
    search_ranges = {
        "alignment_weight": (3.0, 300.0),
        "distortion": (0.05, 1.0),
    }

    def __init__(
        self,
        alignment_weight: float = 30.0,
        distortion: float = 0.2,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.alignment_weight = check_non_negative("alignment_weight", alignment_weight)
        self.distortion = check_positive("distortion", distortion)
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"alignment": self.alignment_weight, "coding_rate": 1.0}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"alignment": -1.0}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_det_side(samples, dimensions, self.side)

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and negative coding rate."""
        z_1, z_2 = unit_embeddings(z_1), unit_embeddings(z_2)
        samples = ops.cast(batch_size(z_1), z_1.dtype)
        dimensions = ops.cast(ops.shape(z_1)[1], z_1.dtype)
        alpha = dimensions / (samples * self.distortion)
        rates = [log_det(ops.sqrt(alpha) * z, self.side) / 2 for z in (z_1, z_2)]
        return {
            "alignment": -batch_mean(ops.sum(z_1 * z_2, axis=1)),
            "coding_rate": -(rates[0] + rates[1]) / 2,
        }
