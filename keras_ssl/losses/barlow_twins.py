"""Barlow Twins, which makes the cross-correlation of the two views the identity matrix.

References:
    - Zbontar et al.: Barlow Twins, ICML 2021, and its published code.
    - Garrido et al., ICLR 2023, equations 19, 33 and 34.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_non_negative
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import (
    SIDES,
    Side,
    dimension_energy,
    distance_from_identity,
    select_energy_side,
)
from keras_ssl.losses.normalization import EPSILON, standard_dimensions
from keras_ssl.replicas import batch_mean, batch_size


@keras.saving.register_keras_serializable(package="keras_ssl")
class BarlowTwinsLoss(Criterion):
    """The Barlow Twins loss, on the cross-correlation of the two views.

    Each dimension of each view is standardized over the batch (biased variance, epsilon 1e-5). With
    `C = z_1^T z_2 / N`, (M, M), the terms are:

    - invariance: `sum_i (1 - C_ii)^2`
    - redundancy: `sum_{i != j} C_ij^2`

    Loss = invariance + redundancy_weight * redundancy. Both terms are sums over the dimensions, so
    the loss grows with M. (The first version of the published code scaled it by a `scale_loss`,
    which was dropped in 2021.)

    Args:
        redundancy_weight: lambda, at least 0. Default 0.0051, as in the published code.
        side: The matrix that the redundancy is computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one (see `select_side`). The value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the weight is negative, the side is unknown, or the embeddings are invalid
            (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> z = np.random.RandomState(0).randn(256, 2)
        >>> bool(BarlowTwinsLoss()(z, z) < 1e-3)
        True
    """

    # From a tenth to ten times the published 0.0051. The range is our choice.
    search_ranges = {"redundancy_weight": (5e-4, 5e-2)}

    def __init__(
        self,
        redundancy_weight: float = 0.0051,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.redundancy_weight = check_non_negative("redundancy_weight", redundancy_weight)
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"invariance": 1.0, "redundancy": self.redundancy_weight}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_energy_side("dimensions", samples, dimensions, False, self.side)

    def _is_on_covariance(self, samples: Any, dimensions: Any) -> bool:
        """Whether the matrix is known to be C, before there is a batch."""
        is_known = isinstance(samples, int) and isinstance(dimensions, int)
        return is_known and self.select_side(samples, dimensions).name == "covariance"

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted invariance and redundancy."""
        if self._is_on_covariance(batch_size(z_1), z_1.shape[1]):
            distances = distance_from_identity(z_1, z_2, EPSILON)
            return dict(zip(self.weights, distances, strict=True))
        z_1, z_2 = standard_dimensions(z_1), standard_dimensions(z_2)
        samples = ops.cast(batch_size(z_1), z_1.dtype)
        diagonal = batch_mean(z_1 * z_2, axis=0)  # C_ii, (M,)
        return {
            "invariance": ops.sum(ops.square(1 - diagonal)),
            "redundancy": dimension_energy(z_1, z_2, self.side) / ops.square(samples),
        }
