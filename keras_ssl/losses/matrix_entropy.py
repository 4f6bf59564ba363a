"""Criteria that keep up the entropy of the spectrum of embeddings: FroSSL, I-VNE+, and between.

The eigenvalues p_k of Z^T Z, divided by their sum, are positive and add up to 1. Their Renyi
entropy of order a measures how evenly the embeddings fill their directions:

    S_a = log(sum_k p_k^a) / (1 - a),    S_1 = -sum_k p_k log p_k

Z^T Z and Z Z^T have the same eigenvalues, so that every order is as much a matter of samples as of
dimensions. Order 2 is `-log ||Z^T Z / tr Z^T Z||_F^2`, and needs no eigenvalues: it is FroSSL, and
by Theorem 3.3 the logarithm of the energy of either of the paper's families with its diagonal.
Order 1, von Neumann's entropy, is I-VNE+. Order 1/2 is twice the logarithm of the nuclear norm, but
for a constant; MMCR takes the nuclear norm of the centers (`keras_ssl.losses.MMCRLoss`).

References:
    - Skean et al.: FroSSL: Frobenius norm minimization for efficient multiview self-supervised
      learning, ECCV 2024, and its published code.
    - Kim et al.: VNE: An effective method for improving deep representation by manipulating
      eigenvalue distribution, CVPR 2023.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor, at_least
from keras_ssl._validation import check_choice, check_non_negative, check_positive
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import (
    SIDES,
    Side,
    entropy_of,
    frobenius_energy,
    power_of,
    select_log_det_side,
    spectral_sum,
)
from keras_ssl.losses.normalization import unit_dimensions, unit_embeddings
from keras_ssl.replicas import batch_mean, sum_over_replicas

# Up to this order, the entropy is computed by a sum that is exact at order 1.
_CLOSE_TO_ONE = 1.5
# The sum of p^8 over 65,536 equal p is 1e-34, which is a number in float32.
_HIGHEST = 8.0
_NORMALIZATIONS = {"embeddings": unit_embeddings, "dimensions": unit_dimensions}


@keras.saving.register_keras_serializable(package="keras_ssl")
class MatrixEntropyLoss(Criterion):
    """Equal views, and a large Renyi entropy of any order of their spectrum.

    Each embedding is scaled to norm 1, or each dimension to norm sqrt(N / M). With V views u_v and
    their center c, the terms are:

    - invariance: `sum_v mean_i ||u_vi - c_i||^2`. For two views of embeddings of norm 1, it is 1
      minus the mean cosine.
    - entropy: `-sum_v S_a(eigenvalues of u_v^T u_v, divided by their sum)`, from -V log min(N, M)
      to 0

    Loss = invariance_weight * invariance + entropy_weight * entropy.

    Args:
        order: a, above 0 and at most 8. Default 1, von Neumann's entropy. An order below 1 counts
            weak directions for more; 2 is computed without eigenvalues.
        invariance_weight: At least 0.
        entropy_weight: At least 0.
        normalization: "embeddings" or "dimensions": what is scaled to one norm.
        side: The matrix that the spectrum is computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the smaller. The value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default. Eigenvalues are float64.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the order is not in (0, 8], a weight is negative, the normalization or side
            is unknown, or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> z = np.eye(4)  # four directions, equally strong
        >>> print(f"{float(MatrixEntropyLoss()(z, z)):.4f} = -2 log(4) = {-2 * np.log(4):.4f}")
        -2.7726 = -2 log(4) = -2.7726
    """

    takes_all_views = True
    # The ranges are our choice. Below 1/2, the gradient of a vanishing direction is not bounded.
    search_ranges = {"order": (0.5, 4.0), "invariance_weight": (0.1, 30.0)}

    def __init__(
        self,
        order: float = 1.0,
        invariance_weight: float = 1.0,
        entropy_weight: float = 1.0,
        normalization: str = "embeddings",
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.normalization = check_choice("normalization", normalization, _NORMALIZATIONS)
        self.order = check_positive("order", order)
        if self.order > _HIGHEST:
            raise ValueError(
                f"`order` must be at most {_HIGHEST}: the sum of higher powers is 0 in float32. "
                f"Received: order={order}"
            )
        self.invariance_weight = check_non_negative("invariance_weight", invariance_weight)
        self.entropy_weight = check_non_negative("entropy_weight", entropy_weight)
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"invariance": self.invariance_weight, "entropy": self.entropy_weight}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"invariance": 0.0}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_det_side(samples, dimensions, self.side)

    @on_shards
    def terms(self, *embeddings: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted invariance and negative entropy."""
        embeddings = tuple(map(_NORMALIZATIONS[self.normalization], embeddings))
        center = sum(embeddings) / len(embeddings)
        distances = [ops.sum(ops.square(z - center), axis=1) for z in embeddings]
        return {
            "invariance": sum(batch_mean(d) for d in distances),
            "entropy": -sum(self._entropy(z) for z in embeddings),
        }

    def _entropy(self, z: Tensor) -> Tensor:
        """Returns S_a of the eigenvalues of z^T z, divided by their sum; 0 if z is 0."""
        trace = sum_over_replicas(ops.sum(ops.square(z)))
        z = z * ops.rsqrt(at_least(trace, keras.config.epsilon() ** 2))
        if self.order == 2:
            energy = frobenius_energy(z, self.side)
            return -ops.log(ops.where(energy == 0, 1, energy))
        a = self.order
        if a > _CLOSE_TO_ONE:
            # The sum may be as small as N^(1 - a): 1 plus a difference would have lost it.
            total = spectral_sum(z, power_of(a), self.side)
            trace = sum_over_replicas(ops.sum(ops.square(z)))
            is_zero = ops.logical_or(total == 0, trace == 0)
            total, trace = (ops.where(is_zero, 1, x) for x in (total, trace))
            return (ops.log(total) - a * ops.log(trace)) / (1 - a)
        total = spectral_sum(z, entropy_of(a), self.side)
        return total if a == 1 else ops.log1p((1 - a) * total) / (1 - a)


@keras.saving.register_keras_serializable(package="keras_ssl")
class FroSSLLoss(MatrixEntropyLoss):
    """The FroSSL loss: `MatrixEntropyLoss` of order 2, the logarithm of a Frobenius norm.

    The terms are:

    - invariance: `sum_v mean_i ||u_vi - c_i||^2`
    - entropy: `sum_v log ||u_v^T u_v / tr u_v^T u_v||_F^2`

    Loss = invariance_weight * invariance + entropy. As in the published code (and lightly's), each
    dimension is scaled to one norm. (The docstring there says embeddings, which it scaled from
    February to August 2024.) Its factor of the invariance depends on the shape of a batch: its
    weight w is V M w / N here.

    Args:
        invariance_weight: At least 0. Default 8: what the published weight 1 is for two views of a
            batch of 256 in 1024 dimensions, the settings for CIFAR-10 (1.4 for STL-10).
        normalization: "embeddings" or "dimensions": what is scaled to one norm.
        side: The matrix of products: "gram", (N, N); "covariance", (M, M); "auto", the smaller.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the weight is negative, the normalization or the side is unknown, or the
            embeddings are invalid (see `Criterion`).

    Example:
        Twice as many directions lower the loss by log(2) for each of the two views.

        >>> import numpy as np
        >>> two, four = np.tile(np.eye(2), (2, 2)), np.eye(4)  # directions, equally strong
        >>> [round(float(FroSSLLoss()(z, z) / np.log(2)), 3) for z in (two, four)]
        [-2.0, -4.0]
    """

    search_ranges = {"invariance_weight": (0.8, 80.0)}

    def __init__(
        self,
        invariance_weight: float = 8.0,
        normalization: str = "dimensions",
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            2.0,
            invariance_weight,
            normalization=normalization,
            side=side,
            name=name,
            dtype=dtype,
        )


@keras.saving.register_keras_serializable(package="keras_ssl")
class IVNELoss(MatrixEntropyLoss):
    """The I-VNE+ loss: `MatrixEntropyLoss` of order 1, von Neumann's entropy.

    The published form is `-4.16 cosine - mean_v S_1`. With the cosine as 1 - invariance and the sum
    over two views in the place of the mean, the weights are 4.16 and 1/2, and the two differ by
    4.16.

    Args:
        invariance_weight: At least 0. Default 4.16, from the settings for CIFAR-10 in FroSSL's
            published code.
        entropy_weight: At least 0. Default 1/2.
        side: The matrix of products: "gram", (N, N); "covariance", (M, M); "auto", the smaller.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default. Eigenvalues are float64.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the side is unknown, or the embeddings are invalid (see
            `Criterion`).

    Example:
        >>> import numpy as np
        >>> z, loss = np.eye(4), IVNELoss()
        >>> print(f"{float(loss(z, z)):.3f} = -log(4) = {-np.log(4):.3f}")
        -1.386 = -log(4) = -1.386
        >>> print(f"{float(loss(z, -z) - loss(z, z)):.2f}")  # the cosine went from 1 to -1
        8.32
    """

    search_ranges = {"invariance_weight": (0.4, 40.0)}

    def __init__(
        self,
        invariance_weight: float = 4.16,
        entropy_weight: float = 0.5,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(1.0, invariance_weight, entropy_weight, side=side, name=name, dtype=dtype)
