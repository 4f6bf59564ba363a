"""W-MSE: views are compared after whitening, which makes the covariance the identity.

References:
    - Ermolov et al.: Whitening for self-supervised representation learning, ICML 2021, and its
      published code.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._require import require
from keras_ssl._tensors import Tensor, mean
from keras_ssl._validation import check_fraction, check_optional_count
from keras_ssl.losses.criterion import Criterion
from keras_ssl.losses.gram import products
from keras_ssl.losses.normalization import unit_embeddings


@keras.saving.register_keras_serializable(package="keras_ssl")
class WMSELoss(Criterion):
    """The W-MSE loss: the distance of whitened views, each of norm 1.

    - distance: `2 - 2 mean_i cos(w_1i, w_2i)`, where w is z whitened: `w = L^-1 (z - mean z)` with
      the Cholesky factor `L L^T` of the covariance of z

    The whitening forces the off-diagonal of the covariance to 0, which VICReg and Barlow Twins only
    penalize: it is dimension-contrastive as a constraint. (The duality paper names it as a relative
    and does not classify it.) It needs more samples than dimensions; the paper uses at least twice
    as many.

    Args:
        whitening_size: Samples that are whitened together, which must divide the batch. Default:
            the whole batch. The published code takes 128 for 64 dimensions, in a new random order
            for each batch; here they are consecutive rows, since batches are shuffled already.
        shrinkage: epsilon, in (0, 1]: the covariance becomes `(1 - epsilon) C + epsilon v I`, where
            v is the mean of its diagonal. Default 0.001. The published code has 0 by default, and
            fails if the covariance is singular.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M), not normalized.
        z_2: Embeddings of the second views, float (N, M), not normalized.

    Returns:
        Scalar loss, in [0, 4]; see `Criterion`.

    Raises:
        ValueError: if the shrinkage is not in (0, 1], the whitening size is below 2 or does not
            divide the batch, or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> z = np.random.RandomState(0).randn(64, 8)
        >>> bool(WMSELoss()(z, z) < 1e-6)
        True
    """

    # The range is our choice.
    search_ranges = {"shrinkage": (1e-4, 0.1)}

    def __init__(
        self,
        whitening_size: int | None = None,
        shrinkage: float = 1e-3,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.whitening_size = check_optional_count("whitening_size", whitening_size)
        if whitening_size == 1:
            raise ValueError("`whitening_size` must be at least 2. Received: whitening_size=1")
        self.shrinkage = check_fraction("shrinkage", shrinkage)
        if self.shrinkage == 0:
            raise ValueError("`shrinkage` must be in (0, 1]. Received: shrinkage=0")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of the only term."""
        return {"distance": 1.0}

    @property
    def attractive(self) -> tuple[str, ...]:  # noqa: D102
        return ("distance",)

    @property
    def settings_against_collapse(self) -> dict[str, str]:  # noqa: D102
        return {"shrinkage": "lower"}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"distance": 0.0}

    @property
    def group_size(self) -> int:  # noqa: D102
        return self.whitening_size or 1

    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the distance of the whitened views."""
        w_1, w_2 = (unit_embeddings(self._whiten(z)) for z in (z_1, z_2))
        # As a distance, not as a cosine: 1 - cos of nearly equal views would be rounding.
        distance = mean(ops.sum(ops.square(w_1 - w_2), axis=1))
        # NaN for what is not finite, but not in the gradient of a factorization, which would raise.
        return {"distance": distance + 0 * ops.stop_gradient(ops.sum(z_1) + ops.sum(z_2))}

    def _whiten(self, z: Tensor) -> Tensor:
        n, m = ops.shape(z)
        size = self.whitening_size or n
        if not isinstance(n, int):
            message = "`whitening_size` must divide the number of samples. Received: samples="
            z = require(z, n % size == 0, message, n)
        elif n % size:
            raise ValueError(
                "`whitening_size` must divide the number of samples. Received: "
                f"whitening_size={size}, {n} samples"
            )
        # A common factor does not matter, and squares of large embeddings would overflow.
        # TensorFlow fails to factor a matrix that is not finite; the loss should be NaN instead.
        largest = ops.stop_gradient(ops.max(ops.absolute(z)))
        z = ops.where(largest < float("inf"), z / (largest + keras.config.epsilon()), 0)
        x = ops.reshape(z, (-1, size, m))
        for _ in range(2):  # The rounding error of the mean would be part of every deviation.
            x = x - ops.sum(x, axis=1, keepdims=True) / ops.cast(size, x.dtype)
        covariance = products(x, x, axis=0) / ops.cast(size - 1, x.dtype)
        variance = ops.trace(covariance, axis1=1, axis2=2)[:, None, None] / ops.cast(m, x.dtype)
        # If all embeddings are equal, there is nothing to divide by.
        floor = self.shrinkage * variance + keras.config.epsilon() ** 2
        shrunk = (1 - self.shrinkage) * covariance + floor * ops.eye(m, dtype=x.dtype)
        white = ops.solve_triangular(ops.cholesky(shrunk), ops.swapaxes(x, 1, 2), lower=True)
        return ops.reshape(ops.swapaxes(white, 1, 2), (n, m))
