"""The paper's quantities on any matrix of embeddings, which show what the two families share.

Rows are samples, as everywhere in this library: K is (N, M), the transpose of the paper's. All
functions are differentiable and compute in the dtype of their input, at least float32. Inside a
replica of `tf.distribute` they use only the given matrix, not the rows of all replicas.

References:
    - Garrido et al., ICLR 2023: Definition 3.2, Proposition 3.1, Theorem 3.3, Lemma 3.4,
      Corollary 3.4.1, Table S4.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_ssl._tensors import Tensor, real_tensor
from keras_ssl._validation import check_count, check_non_negative
from keras_ssl.losses import gram
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import alone


def as_matrix(k: Tensor) -> Tensor:
    """Returns a matrix of embeddings (N, M), at least float32, or raises a `ValueError`."""
    k = real_tensor("k", k, "a matrix (samples N, dimensions M)")
    if len(k.shape) != 2 or 0 in tuple(k.shape):
        raise ValueError(
            f"`k` must be a matrix (samples N, dimensions M). Received: k.shape={tuple(k.shape)}"
        )
    # Integers and half precision would overflow in sums of fourth powers.
    is_wide = keras.backend.standardize_dtype(k.dtype) in ("float32", "float64")
    return k if is_wide else ops.cast(k, "float32")


def sample_contrastive_energy(k: Tensor) -> Tensor:
    """Returns L_c, the sum of squared products of different samples (Definition 3.2).

    `L_c = || K K^T - diag(K K^T) ||_F^2`

    Args:
        k: Embeddings, float (N, M).

    Returns:
        Scalar, at least 0.

    Example:
        >>> import numpy as np
        >>> print(f"{float(sample_contrastive_energy(np.random.RandomState(0).randn(8, 5))):.4f}")
        296.2347
    """
    with alone():
        return gram.sample_energy(as_matrix(k), side="gram")


def dimension_contrastive_energy(k: Tensor) -> Tensor:
    """Returns L_nc, the sum of squared products of different dimensions (Definition 3.2).

    `L_nc = || K^T K - diag(K^T K) ||_F^2`. The embeddings are not centered, and the sum is not
    divided. VICReg's covariance term is this on centered embeddings, divided by (N - 1)^2 M.

    Args:
        k: Embeddings, float (N, M).

    Returns:
        Scalar, at least 0.

    Example:
        The product of the two columns is 44, and L_nc is 2 * 44^2.

        >>> import numpy as np
        >>> float(dimension_contrastive_energy(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])))
        3872.0
    """
    with alone():
        return gram.dimension_energy(as_matrix(k), side="covariance")


def sample_norm_profile(k: Tensor) -> Tensor:
    """Returns the sum of the fourth powers of the samples' norms, `sum_i ||K_i||^4`, scalar.

    Example:
        >>> import numpy as np
        >>> float(sample_norm_profile(np.array([[1.0, 2.0], [3.0, 4.0]])))  # 5^2 + 25^2
        650.0
    """
    return ops.sum(ops.square(ops.sum(ops.square(as_matrix(k)), axis=1)))


def dimension_norm_profile(k: Tensor) -> Tensor:
    """Returns the sum of the fourth powers of the dimensions' norms, `sum_j ||K_j||^4`, scalar.

    Example:
        >>> import numpy as np
        >>> float(dimension_norm_profile(np.array([[1.0, 2.0], [3.0, 4.0]])))  # 10^2 + 20^2
        500.0
    """
    return sample_norm_profile(ops.transpose(as_matrix(k)))


class BothSides(NamedTuple):
    """The two sides of Theorem 3.3, scalars that are equal up to rounding.

    Example:
        >>> import numpy as np
        >>> both = theorem_3_3(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> float(both.dimensions), float(both.samples)
        (892.0, 892.0)
    """

    dimensions: Any
    samples: Any


def theorem_3_3(k: Tensor) -> BothSides:
    """Returns both sides of the duality, for any K.

    `L_nc + sum_j ||K_j||^4 (dimensions) = L_c + sum_i ||K_i||^4 (samples)`. Both sides are equal to
    ||K^T K||_F^2.

    Args:
        k: Embeddings, float (N, M).

    Returns:
        `BothSides(dimensions, samples)`, scalars.

    Example:
        >>> import numpy as np
        >>> sides = theorem_3_3(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        >>> float(sides.dimensions), float(sides.samples)
        (8233.0, 8233.0)
    """
    return BothSides(
        dimension_contrastive_energy(k) + dimension_norm_profile(k),
        sample_contrastive_energy(k) + sample_norm_profile(k),
    )


class Bounds(NamedTuple):
    """A lower and an upper bound.

    Example:
        >>> bounds = dimension_norm_profile_bounds(samples=4, dimensions=2)
        >>> bounds.lower, bounds.upper
        (8.0, 16.0)
    """

    lower: Any
    upper: Any


def dimension_norm_profile_bounds(samples: int, dimensions: int, norm: float = 1.0) -> Bounds:
    """Returns the bounds of Lemma 3.4, for samples that all have norm a.

    `N^2 a^4 / M <= sum_j ||K_j||^4 <= N^2 a^4`. A matrix of equal entries reaches the lower bound,
    and a matrix with a single non-zero dimension reaches the upper one. By symmetry, if every
    *dimension* has norm a, `sample_norm_profile` lies between the bounds of
    `dimension_norm_profile_bounds(samples=M, dimensions=N)`.

    Args:
        samples: N, at least 1.
        dimensions: M, at least 1.
        norm: a, the norm of every sample.

    Returns:
        `Bounds(lower, upper)`, floats.

    Example:
        >>> dimension_norm_profile_bounds(samples=1024, dimensions=8192)  # Table S4: 128, 1M
        Bounds(lower=128.0, upper=1048576.0)
    """
    upper = float(check_count("samples", samples) ** 2 * check_non_negative("norm", norm) ** 4)
    return Bounds(upper / check_count("dimensions", dimensions), upper)


def sample_energy_bounds(k: Tensor) -> Bounds:
    """Returns bounds on L_c from L_nc, for embeddings of norm 1 (Corollary 3.4.1, first half).

    `L_nc - N + N^2 / M <= L_c <= L_nc - N + N^2`

    Args:
        k: Embeddings of norm 1, float (N, M). For other embeddings the bounds mean nothing.

    Returns:
        `Bounds(lower, upper)` of `sample_contrastive_energy(k)`, scalars.

    Example:
        Embeddings that are spread evenly over the dimensions reach the lower bound.

        >>> import numpy as np
        >>> k = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> [float(bound) for bound in sample_energy_bounds(k)], float(sample_contrastive_energy(k))
        ([4.0, 12.0], 4.0)
    """
    samples, dimensions = as_matrix(k).shape
    profile = dimension_norm_profile_bounds(samples, dimensions)
    energy = dimension_contrastive_energy(k)
    return Bounds(energy - samples + profile.lower, energy - samples + profile.upper)


def dimension_energy_bounds(k: Tensor) -> Bounds:
    """Returns bounds on L_nc from L_c, for dimensions of norm 1 (Corollary 3.4.1, second half).

    `L_c - M + M^2 / N <= L_nc <= L_c - M + M^2`

    Args:
        k: Embeddings whose dimensions (columns) have norm 1, float (N, M).

    Returns:
        `Bounds(lower, upper)` of `dimension_contrastive_energy(k)`, scalars.

    Example:
        >>> import numpy as np
        >>> k = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])  # every column has norm 1
        >>> [float(bound) for bound in dimension_energy_bounds(k)]
        [4.0, 12.0]
        >>> float(dimension_contrastive_energy(k))
        4.0
    """
    return sample_energy_bounds(ops.transpose(as_matrix(k)))


def doubly_normalized_difference(samples: int, dimensions: int) -> float:
    """Returns L_nc - L_c if all embeddings have norm 1 and all dimensions have norm sqrt(N / M).

    `L_nc - L_c = N - N^2 / M`. The paper prints N - M for unit rows *and* unit columns, which is
    possible only if N = M. The case here is possible for all N and M (Table 1, SimCLR B).

    Args:
        samples: N, at least 1.
        dimensions: M, at least 1.

    Returns:
        The difference, float.

    Example:
        >>> doubly_normalized_difference(samples=32, dimensions=64)
        16.0
    """
    return check_count("samples", samples) - samples**2 / check_count("dimensions", dimensions)


class Moments(NamedTuple):
    """A mean and a variance, scalars.

    Example:
        >>> import numpy as np
        >>> moments = negative_pair_moments(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
        >>> round(float(moments.mean), 3), round(float(moments.variance), 3)  # of -1, 0 and 0
        (-0.333, 0.222)
    """

    mean: Any
    variance: Any


def negative_pair_moments(k: Tensor) -> Moments:
    """Returns the mean and variance of the cosine over all pairs of different samples.

    By Proposition 3.1 they are 0 and 1 / M for SimCLR and DCL with infinitely many negatives.

    Args:
        k: Embeddings, float (N, M), N >= 2. The function scales them to norm 1.

    Returns:
        `Moments(mean, variance)`, scalars. The variance is the population variance.

    Example:
        Random directions in 10 dimensions have the variance of Proposition 3.1, 1 / 10.

        >>> import numpy as np
        >>> moments = negative_pair_moments(np.random.RandomState(0).randn(500, 10))
        >>> print(f"{float(moments.variance):.3f}")
        0.100
    """
    k = unit_embeddings(as_matrix(k), smallest_norm=1e-30)
    samples = k.shape[0]
    if samples is not None and samples < 2:
        raise ValueError(f"`k` must hold at least 2 samples. Received: k.shape={tuple(k.shape)}")
    count = ops.cast(ops.shape(k)[0] * (ops.shape(k)[0] - 1), k.dtype)
    cosines = gram.off_diagonal(gram.products(k, k))  # (N, N)
    mean = ops.sum(cosines) / count
    variance = ops.sum(ops.square(gram.off_diagonal(cosines - mean))) / count
    return Moments(mean, variance)
