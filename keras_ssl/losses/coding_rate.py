"""TCR and EMP-SSL: the total coding rate makes embeddings fill as large a volume as they can.

References:
    - Li et al.: Neural manifold clustering and embedding, 2022, and its published code.
    - Tong et al.: EMP-SSL: Towards self-supervised learning in one training epoch, 2023 (arXiv
      2304.03977), and its published code.
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
        distortion: epsilon squared, positive. Default 0.2, as in the published CIFAR-10 recipe
            (whose "eps" is the square). The alpha of the duality paper is M / (N distortion).
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
    def terms(self, *embeddings: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and negative coding rate."""
        units = [unit_embeddings(z) for z in embeddings]
        return {
            "alignment": -batch_mean(self._cosines(units)),
            "coding_rate": -sum(self._coding_rate(z) for z in units) / len(units),
        }

    def _cosines(self, units: list[Tensor]) -> Tensor:
        """Returns how well the views of each image agree, (N,), from embeddings of norm 1."""
        z_1, z_2 = units
        return ops.sum(z_1 * z_2, axis=1)

    def _coding_rate(self, z: Tensor) -> Tensor:
        samples = ops.cast(batch_size(z), z.dtype)
        dimensions = ops.cast(ops.shape(z)[1], z.dtype)
        alpha = dimensions / (samples * self.distortion)
        return log_det(ops.sqrt(alpha) * z, self.side) / 2


@keras.saving.register_keras_serializable(package="keras_ssl")
class EMPSSLLoss(CodingRateLoss):
    """The EMP-SSL loss: the total coding rate of many views, each aligned with the mean of all.

    Each embedding is scaled to norm 1. With V views u_v and their mean c, the terms are:

    - alignment: `-mean_v mean_i u_vi . c_i / ||c_i||`
    - coding_rate: `-1/2 log det(I + M / (N epsilon^2) u_v^T u_v)`, averaged over the views

    Loss = alignment_weight * alignment + coding_rate, as in the published code.

    The mean of the V cosines is ||c_i||, so the alignment is minus the mean length of the centers.
    MMCR's criterion is minus their nuclear norm.

    Args:
        alignment_weight: Weight of the alignment, at least 0. Default 200, as in the published
            code.
        distortion: epsilon squared, positive. Default 0.2, as in the published code (whose "eps" is
            the square).
        side: The matrix that the determinant is computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the smaller. The value and the gradient are the same (Sylvester).
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized. The
            published code has 20 to 200 views, crops of a quarter of the image: see
            `keras_ssl.data.multi_patch`.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the weight is negative, the distortion is not positive, the side is unknown,
            or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> distinct, collapsed = np.eye(4), np.ones((4, 4))
        >>> loss = EMPSSLLoss()
        >>> bool(loss(*3 * [distinct]) < loss(*3 * [collapsed]))
        True
    """

    takes_all_views = True
    # Around the published 200 and 0.2. The ranges are our choice.
    search_ranges = {
        "alignment_weight": (20.0, 2000.0),
        "distortion": (0.05, 1.0),
    }

    def __init__(
        self,
        alignment_weight: float = 200.0,
        distortion: float = 0.2,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(alignment_weight, distortion, side, name, dtype)

    def _cosines(self, units: list[Tensor]) -> Tensor:
        # u . c / ||c||, averaged over the views, is ||c||.
        center = sum(units) / len(units)
        return ops.sum(center * unit_embeddings(center), axis=1)
