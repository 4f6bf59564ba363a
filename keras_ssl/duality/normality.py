"""How far embeddings are from an isotropic normal distribution: SIGReg's statistic of one matrix.

References:
    - Balestriero and LeCun: LeJEPA: Provable and scalable self-supervised learning without the
      heuristics, 2025 (arXiv 2511.08544), and its published code.
    - Epps and Pulley: A test for normality based on the empirical characteristic function, 1983.
"""

import numpy as np
from keras import ops

from keras_ssl._tensors import Tensor, mean
from keras_ssl._validation import check_count, check_optional_count, check_positive, check_seed
from keras_ssl.duality.quantities import as_matrix
from keras_ssl.losses import gram
from keras_ssl.replicas import alone


def epps_pulley(
    k: Tensor, slices: int | None = None, points: int = 17, limit: float = 3.0, seed: int = 0
) -> Tensor:
    """Returns the mean of the Epps-Pulley statistic over directions.

    Along a unit vector a, with x = k a, it is

    `N integral |1/N sum_i exp(i t x_i) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`

    The mean over all directions is, in closed form on the pairs of samples,

    `N sqrt(2 pi) [mean_ij K(|k_i - k_j|^2 / 2) - sqrt(2) mean_i K(|k_i|^2 / 4) + 1 / sqrt(3)]`

    with `K(s) = 1F1(1/2; M/2; -s)`. If the k_i are independent and standard normal, it is expected
    to be `sqrt(2 pi) (1 - 1 / sqrt(3))`, 1.059, for any N and M.

    The published code has this statistic for random directions, and an integral by the trapezoidal
    rule from -`limit` to `limit`, which leaves out what is beyond: for standard normal embeddings
    it is expected to be 1.052. It sees all directions only on average.

    Args:
        k: Embeddings, float (N, M), M at least 2.
        slices: Random directions, as in the published code (1024 in the paper, 256 in its minimal
            example), at least 1. Default: all directions, exactly.
        points: Points of the rule from 0 to `limit`, at least 2; 17 in the published code. It only
            matters with `slices`.
        limit: Positive; 3 in the published code. It only matters with `slices`.
        seed: Seed of the directions.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: if `k` is not a matrix with two columns or more, or another argument is out of
            its range.

    Example:
        >>> import numpy as np
        >>> normal = np.random.RandomState(0).randn(512, 64)
        >>> print(f"{float(epps_pulley(normal)):.2f}, {float(epps_pulley(2 * normal)):.1f}")
        1.07, 121.0
    """
    k = as_matrix(k)
    if k.shape[1] is None or k.shape[1] < 2:
        raise ValueError(f"`k` must have at least 2 dimensions. Received: k.shape={tuple(k.shape)}")
    slices = check_optional_count("slices", slices)
    if check_count("points", points) < 2:
        raise ValueError(f"`points` must be at least 2. Received: points={points}")
    limit, seed = check_positive("limit", limit), check_seed("seed", seed)
    if slices is None:
        with alone():
            return gram.epps_pulley(k)
    random = np.random.default_rng(seed)
    directions = random.standard_normal((k.shape[1], slices))
    directions /= np.linalg.norm(directions, axis=0)
    t = np.linspace(0, limit, points)
    normal = np.exp(-np.square(t) / 2)
    weights = np.full(points, 2 * limit / (points - 1))  # Twice, for -t.
    weights[[0, -1]] /= 2
    along = k @ ops.convert_to_tensor(directions, dtype=k.dtype)  # (N, slices)
    total = ops.zeros((slices,), dtype=k.dtype)
    for point, of_normal, weight in zip(t, normal, weights * normal, strict=True):
        real = mean(ops.cos(float(point) * along), axis=0) - float(of_normal)
        imaginary = mean(ops.sin(float(point) * along), axis=0)
        total = total + float(weight) * (ops.square(real) + ops.square(imaginary))
    return ops.cast(ops.shape(k)[0], k.dtype) * mean(total)
