"""VIbCReg: VICReg with a covariance term on standardized dimensions.

References:
    - Lee and Aune: Computer vision self-supervised learning methods on time series (VIbCReg), 2021
      (arXiv 2109.00783), and solo-learn's version of it.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl.losses.gram import dimension_energy
from keras_ssl.losses.normalization import standard_dimensions
from keras_ssl.losses.vicreg import VICRegFamilyLoss
from keras_ssl.replicas import batch_size


@keras.saving.register_keras_serializable(package="keras_ssl")
class VIbCRegLoss(VICRegFamilyLoss):
    """The VIbCReg loss: VICReg whose covariance term penalizes correlations.

    The invariance and the variance are those of `keras_ssl.losses.VICRegFamilyLoss`. The term
    covariance is `1/M^2 sum_{i != j} r_ij^2`, summed over the two views, where r is the matrix of
    the correlations of the dimensions of a view (1e-5 is added to a variance before its root is
    taken, as in Barlow Twins): it does not grow with their variance. It is
    dimension-contrastive by Definition 3.2 of the duality paper.

    The projector of the published method ends in iterative normalization; ours does not.

    Args:
        invariance_weight: At least 0. Default 25, as in solo-learn's settings.
        variance_weight: At least 0. Default 50: it is 25 in solo-learn's settings, where the term
            is summed over the views; here it is averaged, as in VICReg's code.
        covariance_weight: At least 0. Default 200, as in solo-learn's settings.
        side: The matrix that the correlations are computed on: "gram", (N, N); "covariance",
            (M, M); "auto", the cheaper one (see `select_side`).
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the side is unknown, or the embeddings are invalid
            (see `Criterion`).

    Example:
        Two equal dimensions have a correlation of 1, however large they are.

        >>> import numpy as np
        >>> z = np.array([[1.0, 1.0], [-1.0, -1.0]])
        >>> [round(float(VIbCRegLoss().measure(k, k)["covariance"]), 3) for k in (z, 10 * z)]
        [1.0, 1.0]
    """

    # Around the published 200. The range is our choice.
    search_ranges = {**VICRegFamilyLoss.search_ranges, "covariance_weight": (5.0, 2000.0)}

    def __init__(
        self,
        invariance_weight: float = 25.0,
        variance_weight: float = 50.0,
        covariance_weight: float = 200.0,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "dimensions",
            "squares",
            invariance_weight,
            variance_weight,
            covariance_weight,
            side=side,
            name=name,
            dtype=dtype,
        )

    def penalize(self, x: Tensor) -> Tensor:
        """Returns the mean of the squared correlations of a view, without their diagonal."""
        n, m = (ops.cast(size, x.dtype) for size in (batch_size(x), ops.shape(x)[1]))
        return dimension_energy(standard_dimensions(x), side=self.side) / ops.square(n * m)
